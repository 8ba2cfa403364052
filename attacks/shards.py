"""An evaluation as a deterministic list of idempotent shards.

A shard is one piece of work on one block of points under one threat model. Its key is the digest of everything its
result depends on; the seed of examples made without the target depends only on what the attacker holds, so that they
are the same for every target. Shards run in any order, in any process, and again: what one of them finds prepared by
another it makes itself where it is missing.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch

from attacks.canonical import canonical_json, content_digest, seed_from
from attacks.crafting import context_of
from attacks.evaluation import Evaluation, code_version, crafted_elsewhere
from attacks.merging import merge_planned
from attacks.report import EvaluationReport
from attacks.rows import AttackRow
from attacks.targets.failures import OutOfMemory, PreparationOutOfMemory, fits_in_memory, named_step
from attacks.working import WORKERS
from ensemble.digests import network_digest
from ensemble.errors import InputError

__all__ = ["Evaluation", "Shard", "merge", "plan", "run_shard"]

CLEAN, PROBES, PREPARE = "clean", "probes", "prepare"
TRANSFER, MATRIX, CASCADE, AUDIT = "transfer", "matrix", "cascade", "audit"


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work.

    Attributes:
        key: SHA-256 of all that the result depends on.
        seed: of the shard's random numbers.
        work: a key of `attacks.working.WORKERS`.
        stage: what a progress display groups by: clean, probes, prepare, noise, fgsm, or a kind of knowledge.
        title: one line for people.
        samples: how many points it works on.
        attack: the id of the suite's row, the name of a material, or the work itself.
        judge: the network attacked; empty where examples are made without one.
        threat: index of the threat model.
        start: first point.
        stop: one past the last point.
    """

    key: str
    seed: int
    work: str
    stage: str
    title: str
    samples: int
    attack: str
    judge: str
    threat: int
    start: int
    stop: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Shard":
        """Return the shard of `to_dict`.

        Raises:
            InputError: the fields are those of another version.
        """
        names = {item.name for item in fields(cls)}
        if set(values) != names:
            raise InputError(
                f"shard: expected the fields {sorted(names)}, got {sorted(values)}; plan the evaluation again"
            )
        return cls(**values)


def plan(evaluation: Evaluation) -> tuple[Shard, ...]:
    """Return the shards of an evaluation; equal evaluations give equal lists.

    Args:
        evaluation: the context.

    Returns:
        Clean accuracy, probes, what attackers prepare; then block by block examples made elsewhere and the cascades
        that start from them; last the cold runs on parts of the points.
    """
    n = len(evaluation.inputs)
    shards = [_shard(evaluation, CLEAN, CLEAN, "", 0, start, stop) for start, stop in evaluation.blocks]
    shards.append(_shard(evaluation, PROBES, PROBES, "", 0, 0, n))
    shards += [_shard(evaluation, PREPARE, name, "", 0, 0, n) for name in evaluation.prepared]
    for threat in range(len(evaluation.threats)):
        for start, stop in evaluation.blocks:
            shards += _block(evaluation, threat, start, stop)
        shards += _parts(evaluation, threat)
    return tuple(shards)


def _block(evaluation: Evaluation, threat: int, start: int, stop: int) -> list[Shard]:
    shards = []
    for row in evaluation.runnable(threat):
        if crafted_elsewhere(row):
            shards.append(_shard(evaluation, TRANSFER, row.id, "", threat, start, stop))
        elif row.surrogate == "members":
            shards.append(_shard(evaluation, MATRIX, row.id, evaluation.jury.target, threat, start, stop))
    attacked = [judge for judge in evaluation.jury.attacked if evaluation.cascade_rows(threat, judge)]
    return shards + [_shard(evaluation, CASCADE, CASCADE, judge, threat, start, stop) for judge in attacked]


def _parts(evaluation: Evaluation, threat: int) -> list[Shard]:
    queries = [row for row in evaluation.runnable(threat) if row.surrogate == "target" and row.queries]
    audits = evaluation.wanted(evaluation.rows.audits, threat)
    audits = [row for row in audits if not evaluation.reason_against(row, threat)]
    target, n = evaluation.jury.target, len(evaluation.inputs)
    return [_shard(evaluation, AUDIT, row.id, target, threat, 0, n) for row in (*queries, *audits)]


def merge(evaluation: Evaluation, results: Mapping[str, Mapping[str, Any]]) -> EvaluationReport:
    """Return the report of an evaluation whose shards are all done: pure, and independent of their order.

    Args:
        evaluation: the context the shards ran in.
        results: shard key -> result of `run_shard`.

    Returns:
        The sealed report.

    Raises:
        InputError: a shard has no result, or a result lies under another shard's key.
    """
    return merge_planned(evaluation, [shard.key for shard in plan(evaluation)], results)


def _shard(evaluation: Evaluation, work: str, attack: str, judge: str, threat: int, start: int, stop: int) -> Shard:
    rows = _rows_of(evaluation, work, attack, judge, threat)
    crafting: Any = {"work": work, "name": attack, "seed": evaluation.seed}
    if rows:
        crafting = [context_of(evaluation, row, threat, start, stop) for row in rows]
    if work == TRANSFER:
        (crafting,) = crafting
    if work == PREPARE:
        crafting["material"] = evaluation.identity_of(attack)
    context = {
        "crafting": crafting,
        "work": work,
        "attacked": judge,
        "version": code_version(),
        "judges": dict(evaluation.jury.digests),
        "mode": evaluation.mode,
        "datatype": evaluation.datatype,
        "points": content_digest([list(evaluation.point_digests[start:stop]), evaluation.labels[start:stop].tolist()]),
        "start": start,
        "block": evaluation.block,
        "device": evaluation.device_name,
        "threads": evaluation.threads,
        "threats": [item.to_dict() for item in evaluation.threats] if work == PROBES else None,
        "certify": evaluation.certify if work == PROBES else None,
    }
    seed = seed_from(crafting) if work == TRANSFER else seed_from(crafting, judge)
    stage = rows[-1].stage if rows else work
    title = _title(evaluation, work, attack, judge, threat, start, stop)
    samples = stop - start
    return Shard(content_digest(context), seed, work, stage, title, samples, attack, judge, threat, start, stop)


def _rows_of(evaluation: Evaluation, work: str, attack: str, judge: str, threat: int) -> list[AttackRow]:
    """Return the rows a shard's result depends on: a cascade also on the examples it starts from."""
    if work == CASCADE:
        return [*evaluation.start_rows(threat), *evaluation.cascade_rows(threat, judge)]
    return [evaluation.rows.row(attack)] if work in (TRANSFER, MATRIX, AUDIT) else []


def _title(evaluation: Evaluation, work: str, attack: str, judge: str, threat: int, start: int, stop: int) -> str:
    points = f"points {start} to {stop - 1}"
    if work == PREPARE:
        drawn = attack in evaluation.drawn.sources
        return f"another draw of the group, {attack}" if drawn else f"the attacker prepares {attack}"
    if work in (CLEAN, PROBES):
        return f"{attack}, {points}"
    name = f"white box on {judge}" if work == CASCADE else attack
    return f"{name}, {evaluation.threats[threat].norm}, {points}"


def run_shard(shard: Shard, evaluation: Evaluation) -> dict[str, Any]:
    """Return the result of one shard as canonical JSON values; running it again gives the same, except `seconds`.

    The global generators and the thread count of torch are set inside and restored afterwards.

    Args:
        shard: of this evaluation's plan.
        evaluation: the context.

    Returns:
        Verdicts as strings of 0 and 1, digests and small numbers.

    Raises:
        InputError: the shard belongs to another evaluation.
        OutOfMemory: its block does not fit; the message names a block size to try.
        ModelFailure: a network failed, forward or backward.
    """
    own = _shard(evaluation, shard.work, shard.attack, shard.judge, shard.threat, shard.start, shard.stop)
    if own != shard:
        raise InputError(
            f"shard: expected one of this evaluation's plan, got {shard.title!r} with another key; "
            "plan the evaluation again"
        )
    begin = time.perf_counter()
    block = min(evaluation.block, shard.samples)
    try:
        with _settled(shard.seed, evaluation), fits_in_memory(shard.title, block), named_step(shard.title):
            result = WORKERS[shard.work](shard, evaluation)
    except OutOfMemory as error:
        if shard.work == PREPARE:
            raise PreparationOutOfMemory(shard.title) from error
        # Whatever part of the block was being passed: the block is what can be set.
        raise OutOfMemory(shard.title, block) from error
    watched = {"base", evaluation.jury.target, *([shard.judge] if shard.judge else [])}
    result |= {
        "schema": "levelset/shard-result",
        "schema_version": code_version()[0],
        **shard.to_dict(),
        "digests": {name: network_digest(evaluation.jury.models[name].network) for name in sorted(watched)},
        "training": any(m.training for judge in evaluation.jury.models.values() for m in judge.network.modules()),
        "seconds": time.perf_counter() - begin,
    }
    canonical_json(result)
    return result


@contextmanager
def _settled(seed: int, evaluation: Evaluation) -> Iterator[None]:
    devices = {model.device for model in evaluation.jury.models.values() if model.device.type == "cuda"}
    threads = torch.get_num_threads()
    # Verdicts and norms are float32: left alone, cuDNN convolves in TF32.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    precision = torch.get_float32_matmul_precision()
    # A caller's no_grad or inference_mode would take the gradients away.
    modes = torch.inference_mode(False), torch.enable_grad()
    with torch.random.fork_rng(devices=sorted(devices, key=str)), exact, modes[0], modes[1]:
        try:
            torch.set_float32_matmul_precision("highest")
            torch.set_num_threads(evaluation.threads)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            torch.set_num_threads(threads)
