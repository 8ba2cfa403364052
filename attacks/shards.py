"""An evaluation as a deterministic list of idempotent shards.

A shard is one attack on one block of points under one threat model. Its key is the digest of everything its result
depends on; its seed depends only on what the attacker holds, so that no-query examples are the same for every target.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.building import build_attack
from attacks.canonical import canonical_json, content_digest, seed_from
from attacks.evaluation import Evaluation, levelset_version
from attacks.examples import keep
from attacks.ladder import Crafted, craft
from attacks.merging import merge_planned, partial_summary
from attacks.probes import probe
from attacks.report import EvaluationReport
from attacks.suites import AttackRow
from attacks.verdicts import to_bits
from ensemble.digests import network_digest
from ensemble.errors import InputError

__all__ = ["Evaluation", "Shard", "merge", "partial_summary", "plan", "run_shard"]

#: Raised by hand when the meaning of a shard's result changes.
SHARD_VERSION = "2"
CLEAN = "clean"
PROBES = "probes"


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work.

    Attributes:
        key: SHA-256 of all that the result depends on.
        seed: of the shard's random numbers.
        stage: what a progress display groups by: clean, probes, noise, fgsm, stolen_base, white_box.
        title: one line for people.
        samples: how many points it works on.
        attack: the id of the suite's row, or "clean" or "probes".
        threat: index of the threat model.
        start: first point.
        stop: one past the last point.
    """

    key: str
    seed: int
    stage: str
    title: str
    samples: int
    attack: str
    threat: int
    start: int
    stop: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Shard":
        """Return the shard of `to_dict`."""
        return cls(**fields)


def plan(evaluation: Evaluation) -> tuple[Shard, ...]:
    """Return the shards of an evaluation, cheapest stage first; equal evaluations give equal lists.

    Args:
        evaluation: the context.

    Returns:
        Clean accuracy, probes, then every attack of the suite per threat model and block.
    """
    blocks = evaluation.blocks
    shards = [_shard(evaluation, CLEAN, 0, start, stop) for start, stop in blocks]
    shards.append(_shard(evaluation, PROBES, 0, 0, len(evaluation.inputs)))
    for row in evaluation.rows.rows:
        for threat in range(len(evaluation.threats)):
            shards += [_shard(evaluation, row.id, threat, start, stop) for start, stop in blocks]
    return tuple(shards)


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


def _shard(evaluation: Evaluation, attack: str, threat: int, start: int, stop: int) -> Shard:
    is_attack = attack not in (CLEAN, PROBES)
    row = evaluation.rows.row(attack) if is_attack else None
    crafting = {
        "attack": row.to_dict() if row else attack,
        "threat": evaluation.threats[threat].to_dict() if row else None,
        "surrogate": evaluation.surrogate(row).digest if row and row.gradient else None,
        "points": list(evaluation.point_digests[start:stop]),
        "labels": evaluation.labels[start:stop].tolist(),
        "seed": evaluation.seed,
    }
    seed = seed_from(crafting)
    context = {
        "crafting": crafting,
        "version": [SHARD_VERSION, levelset_version(), torch.__version__],
        "judges": dict(evaluation.jury.digests),
        "start": start,
        "device": evaluation.device_name,
        "threads": evaluation.threads,
        "threats": [item.to_dict() for item in evaluation.threats] if attack == PROBES else None,
    }
    title = f"{attack}, points {start} to {stop - 1}"
    if row:
        title = f"{attack}, {evaluation.threats[threat].norm}, points {start} to {stop - 1}"
    stage = row.stage if row else attack
    return Shard(content_digest(context), seed, stage, title, stop - start, attack, threat, start, stop)


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
    """
    if _shard(evaluation, shard.attack, shard.threat, shard.start, shard.stop) != shard:
        raise InputError(
            f"shard: expected one of this evaluation's plan, got {shard.title!r} with another key; "
            "plan the evaluation again"
        )
    begin = time.perf_counter()
    with _settled(shard.seed, evaluation):
        if shard.attack == CLEAN:
            result = _run_clean(shard, evaluation)
        elif shard.attack == PROBES:
            result = {"numbers": probe(evaluation, shard.seed)}
        else:
            result = _run_attack(shard, evaluation, evaluation.rows.row(shard.attack))
    target = evaluation.jury.target
    result |= {
        "schema": "levelset/shard-result",
        "schema_version": SHARD_VERSION,
        **shard.to_dict(),
        "digests": {name: network_digest(evaluation.jury.models[name].network) for name in ("base", target)},
        "training": any(m.training for judge in evaluation.jury.models.values() for m in judge.network.modules()),
        "seconds": time.perf_counter() - begin,
    }
    canonical_json(result)
    return result


@contextmanager
def _settled(seed: int, evaluation: Evaluation) -> Iterator[None]:
    devices = {model.device for model in evaluation.jury.models.values() if model.device.type == "cuda"}
    threads = torch.get_num_threads()
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with torch.random.fork_rng(devices=sorted(devices, key=str)), deterministic:
        try:
            torch.set_num_threads(evaluation.threads)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)


def _block(shard: Shard, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    return evaluation.inputs[shard.start : shard.stop], evaluation.labels[shard.start : shard.stop]


def _run_clean(shard: Shard, evaluation: Evaluation) -> dict[str, Any]:
    held = evaluation.jury.held(*_block(shard, evaluation))
    return {"held": {name: [to_bits(flags)] for name, flags in held.items()}}


def _run_attack(shard: Shard, evaluation: Evaluation, row: AttackRow) -> dict[str, Any]:
    inputs, labels = _block(shard, evaluation)
    threat = evaluation.threats[shard.threat]
    surrogate = evaluation.surrogate(row)
    attack = build_attack(row, threat.norm, surrogate)
    judge = evaluation.jury.target if row.knowledge == "white_box" else None
    forwards = backwards = 0
    held: dict[str, Tensor] = {}
    in_attack = torch.ones(len(threat.epsilons), len(inputs), dtype=torch.bool)
    excess = [-torch.inf] * len(threat.epsilons)
    examples, finite = [], True
    for _ in range(row.draws):
        before = (surrogate.model.passes.forwards, surrogate.model.passes.backwards)
        crafted = craft(attack, surrogate.model, inputs, labels, threat)
        forwards += surrogate.model.passes.forwards - before[0]
        backwards += surrogate.model.passes.backwards - before[1]
        for name, flags in _judge(evaluation, crafted, labels, judge).items():
            held[name] = held.get(name, torch.ones_like(flags)) & flags
        in_attack &= ~crafted.fooled
        excess = [max(pair) for pair in zip(excess, crafted.excess, strict=True)]
        finite &= crafted.finite
        examples.append(keep(crafted.examples, evaluation.examples_folder))
    return {
        "held": {name: [to_bits(rung) for rung in flags] for name, flags in held.items()},
        "in_attack": {"judge": judge or "base", "held": [to_bits(rung) for rung in in_attack]},
        "excess": excess,
        "finite": finite,
        "examples": examples,
        "forwards": forwards,
        "backwards": backwards,
    }


def _judge(evaluation: Evaluation, crafted: Crafted, labels: Tensor, judge: str | None) -> dict[str, Tensor]:
    rungs = [evaluation.jury.held(rung, labels, only=judge) for rung in crafted.examples]
    return {name: torch.stack([rung[name] for rung in rungs]) for name in rungs[0]}
