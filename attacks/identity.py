"""The part of a report that says what was evaluated, on what, and where."""

import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from attacks.canonical import content_digest
from attacks.evaluation import levelset_version
from attacks.findings import Findings, Run
from attacks.jury import BASE
from attacks.schema import Artifact, Data, Environment, NotRun, Subject


def subject_of(findings: Findings) -> Subject:
    """Return the digests and the making of what was evaluated."""
    jury, evaluation = findings.evaluation.jury, findings.evaluation
    generation = getattr(evaluation.target, "generation", None)
    record = generation.to_dict() if generation is not None else None
    return Subject(
        target=jury.target,
        ensemble_digest=jury.digests[jury.target],
        base_digest=jury.digests[BASE],
        control_digests={name: digest for name, digest in jury.digests.items() if name not in (BASE, jury.target)},
        mode=evaluation.mode,
        members=len(jury.members),
        group=(record or {}).get("recipe"),
        seeds=[] if record is None else [record["seed"]],
        calibration_digest=getattr(generation, "calibration_digest", None),
        datatype=evaluation.datatype,
    )


def data_of(findings: Findings) -> Data:
    """Return where the points come from, and the best constant answer on them."""
    evaluation = findings.evaluation
    counts = np.bincount(findings.labels)
    return Data(
        name=evaluation.data.name,
        split=evaluation.data.split,
        n=findings.n,
        digest=content_digest([list(evaluation.point_digests), findings.labels.tolist()]),
        encoding=evaluation.data.encoding,
        bounds=list(evaluation.threats[0].bounds),
        input_shape=list(evaluation.inputs.shape[1:]),
        label_counts={str(label): int(count) for label, count in enumerate(counts)},
        chance_accuracy=findings.chance / findings.n,
    )


def not_run_of(findings: Findings) -> list[NotRun]:
    """Return what the full standard asks for that was not done: by the suite, by its rows, by the baselines."""
    evaluation = findings.evaluation
    pairs = list(evaluation.rows.not_run)
    for row in (*evaluation.rows.rows, *evaluation.rows.audits):
        reasons: dict[str, list[str]] = {}
        for threat, model in enumerate(evaluation.threats):
            reason = evaluation.reason_against(row, threat) if evaluation.wanted([row], threat) else ""
            if reason:
                reasons.setdefault(reason, []).append(model.norm)
        pairs += [(f"{row.id} ({', '.join(norms)})", reason) for reason, norms in reasons.items()]
    pairs += findings.failed.items()
    pairs += [(f"certificate of the {name}", why) for name, why in findings.numbers.get("not_certified", {}).items()]
    return [NotRun(what=what, why=why) for what, why in (*pairs, *evaluation.jury.absent)]


def artifact_of(findings: Findings, run: Run, record: Any) -> Artifact:
    """Return the record of one crafting run's examples; those of a cascade belong to all its attacks."""
    norm = findings.evaluation.threats[run.threat].norm
    attack = run.id if run.cold else f"white_box on {run.judge}"
    return Artifact(kind="examples", attack=attack, norm=norm, **record)


def environment_of(findings: Findings) -> Environment:
    """Return versions, device and threads."""
    return Environment(
        levelset=levelset_version(),
        foolbox=version("foolbox"),
        torch=torch.__version__,
        python=platform.python_version(),
        device=findings.evaluation.device_name,
        threads=findings.evaluation.threads,
        deterministic=torch.are_deterministic_algorithms_enabled() or findings.evaluation.device_name == "cpu",
    )
