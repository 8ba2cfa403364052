"""What the shard process does: builds an evaluation once, plans it, runs its shards, merges them into a report."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import torch

from attacks.data import DataDescription
from attacks.findings import gather
from attacks.overrides import Overrides
from attacks.shards import Evaluation, Shard, merge, plan, run_shard
from attacks.threat import ThreatModel
from service.catalogue.datasets import DataSet
from service.catalogue.repository import ModelRepository
from service.errors import NotFound
from service.jobs.data_sets import calibration_of, open_dataset, points_of_others
from service.jobs.samples import StoredFile, per_sample, to_csv
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.canonical import canonical, digest

KEPT: Final = 2  # evaluations held ready; jobs that interleave use one each


class Workbench:
    """Answers the worker's questions `plan`, `run` and `finish`; all state is a cache.

    Args:
        settings: where models, data sets and artifacts lie, and the device.
    """

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._artifacts = ArtifactStore(settings.artifacts_folder)
        self._evaluations: OrderedDict[str, Evaluation] = OrderedDict()

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one question, JSON values only."""
        spec = question["spec"]
        match question["do"]:
            case "plan":
                return self._plan(spec)
            case "run":
                return self._run(spec, self._shards(question["plan"])[question["key"]])
            case "finish":
                return self._finish(spec, self._shards(question["plan"]))
            case other:
                raise NotFound(f"question: expected plan, run or finish, got {other!r}")

    def _plan(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        shards = plan(self._evaluation(spec))
        listed = self._artifacts.put(canonical([shard.to_dict() for shard in shards]))
        return {"plan": listed, "keys": [shard.key for shard in shards], "samples": sum(map(_samples, shards))}

    def _run(self, spec: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
        stored = self._artifacts.get_result(shard.key)
        result = json.loads(stored) if stored is not None else self._compute(spec, shard)
        return {
            "digest": digest({name: value for name, value in result.items() if name != "seconds"}),
            "samples": _samples(shard),
            "cached": stored is not None,
            "title": shard.title,
            "attack": shard.attack,
            "seconds": result["seconds"],
        }

    def _compute(self, spec: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
        result = run_shard(shard, self._evaluation(spec))
        self._artifacts.put_result(shard.key, canonical(result))
        return result

    def _finish(self, spec: Mapping[str, Any], shards: Mapping[str, Shard]) -> dict[str, Any]:
        from service.web.report import render_html, render_markdown  # matplotlib is needed only here, at the end

        results = {key: self._result(spec, shard) for key, shard in shards.items()}
        report = merge(self._evaluation(spec), results)
        text = report.to_json()
        samples = per_sample(gather(self._evaluation(spec), [results[key] for key in shards]))
        written = [
            StoredFile("json", "report.json", "application/json", text.encode()),
            StoredFile("html", "report.html", "text/html", render_html(report).encode()),
            StoredFile("markdown", "report.md", "text/markdown", render_markdown(report).encode()),
            StoredFile("samples", "samples.json", "application/json", canonical(samples)),
            StoredFile("csv", "samples.csv", "text/csv", to_csv(samples)),
        ]
        files = {file.form: self._artifacts.put(file.data) for file in written}
        return {
            "report": {"digest": report.digest, "files": files, **_summary(json.loads(text), spec)},
            "files": [file.record(files[file.form]) for file in written],
        }

    def _result(self, spec: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
        stored = self._artifacts.get_result(shard.key)
        if stored is None:  # its file was lost after the commit: the same key gives the same bytes again
            return self._compute(spec, shard)
        result: dict[str, Any] = json.loads(stored)
        return result

    def _shards(self, name: str) -> dict[str, Shard]:
        listed = [Shard.from_dict(fields) for fields in json.loads(self._artifacts.get(name))]
        return {shard.key: shard for shard in listed}

    def _evaluation(self, spec: Mapping[str, Any]) -> Evaluation:
        name = digest(spec)
        if name not in self._evaluations:
            self._evaluations[name] = build_evaluation(spec, self._settings)
            while len(self._evaluations) > KEPT:
                self._evaluations.popitem(last=False)
        self._evaluations.move_to_end(name)
        return self._evaluations[name]


def build_evaluation(spec: Mapping[str, Any], settings: Settings) -> Evaluation:
    """Return the heavy context of a job: the target's weights and the inputs it is judged on.

    Args:
        spec: a job specification as it was stored, the target's version and digest included.
        settings: where models and data sets lie, and the device.

    Raises:
        NotFound: the target is not the one the job was submitted for.
    """
    repository = ModelRepository(settings.models_folder)
    info = repository.info(spec["target"], spec["target_version"])
    target = repository.load(spec["target"], spec["target_version"], device=settings.device)
    if target.digest != spec["target_digest"]:
        raise NotFound(
            f"target {spec['target']}: expected digest {spec['target_digest'][:12]}, got {target.digest[:12]}; "
            "submit the job again"
        )
    data = spec["data"]
    dataset = open_dataset(data["name"], settings)
    part = dataset.part(data["split"], data["n"])
    used = _used_ids(dataset) if info.was_made_on(dataset, offered_as=data["name"]) else None
    attacker, validation = points_of_others(dataset)
    return Evaluation(
        target=target,
        base=target.base,
        inputs=part.inputs,
        labels=part.labels,
        threat=[ThreatModel.from_dict(threat) for threat in (spec["threat"], *spec.get("also", ()))],
        suite=spec["suite"]["name"],
        overrides=Overrides(**spec["suite"].get("overrides", {})),
        mode=spec.get("mode", "prob"),
        datatype=spec.get("datatype", "FP32"),
        seed=spec["seed"],
        calibration_digests=() if info.calibration_digest is None else (info.calibration_digest,),
        data=DataDescription(data["name"], data["split"], dataset.encoding, tuple(map(str, part.ids)), used),
        block=spec["block"],
        device=settings.device,
        threads=settings.threads,
        examples_folder=settings.artifacts_folder / "examples",
        attacker=attacker,
        validation=validation,
        calibration=calibration_of(dataset, target.generation),
        draws=spec.get("draws"),
    )


def _used_ids(dataset: DataSet) -> tuple[str, ...]:
    return tuple(str(index) for split in ("train", "calibration") for index in dataset.parts[split])


def _samples(shard: Shard) -> int:
    return shard.samples


def _summary(report: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    status = report.get("status") or {}
    summary = {
        "target": spec["target"],
        "target_version": spec["target_version"],
        "data": spec["data"],
        "suite": spec["suite"],
        "headline": report.get("headline"),
    }
    return {"status": str(status.get("value", "unknown")), "summary": summary}
