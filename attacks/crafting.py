"""Examples made without the target: made once, found again by their key, judged by everybody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attacks.building import build_attack
from attacks.canonical import content_digest, seed_from
from attacks.evaluation import Evaluation, code_version, crafted_elsewhere
from attacks.gradient.transfer import Transfer
from attacks.jury import Jury
from attacks.ladder import Crafted, craft, full_range
from attacks.rows import RADII, AttackRow
from attacks.threat import ThreatModel


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """The draws of one attack on one block.

    Attributes:
        draws: one crafting run each.
        forwards: points passed forward through the surrogate.
        backwards: points passed backward.
    """

    draws: tuple[Crafted, ...]
    forwards: int
    backwards: int


def threat_of(row: AttackRow, threat: ThreatModel, inputs: Tensor) -> ThreatModel:
    """Return the threat model with the radii that a row attacks.

    Args:
        row: of a suite.
        threat: of the evaluation.
        inputs: for the radius of the whole box.
    """
    if row.full_range:
        return replace(threat, epsilons=(full_range(threat, inputs),))
    return replace(threat, epsilons=threat.epsilons[RADII[row.radii]])


def context_of(evaluation: Evaluation, row: AttackRow, threat: int, start: int, stop: int) -> dict[str, Any]:
    """Return everything that examples made without the target depend on, as JSON values.

    Args:
        evaluation: the context.
        row: of the suite; it never reads the target.
        threat: index of the threat model.
        start: first point.
        stop: one past the last point.
    """
    return {
        "attack": row.to_dict(),
        "threat": evaluation.threats[threat].to_dict(),
        "surrogate": _surrogate_of(evaluation, row),
        "points": list(evaluation.point_digests[start:stop]),
        "labels": evaluation.labels[start:stop].tolist(),
        "seed": evaluation.seed,
    }


def _surrogate_of(evaluation: Evaluation, row: AttackRow) -> str | None:
    """Return the digest of what an attacker crafts on; the network judged is said elsewhere."""
    return evaluation.workshop.digest(row.surrogate) if row.gradient and crafted_elsewhere(row) else None


def made_elsewhere(evaluation: Evaluation, row: AttackRow, threat: int, start: int, stop: int) -> Made:
    """Return the examples of a row that never reads the target, from memory or made again: the same either way.

    Args:
        evaluation: the context.
        row: of the suite.
        threat: index of the threat model.
        start: first point.
        stop: one past the last point.
    """
    context = context_of(evaluation, row, threat, start, stop)
    key = content_digest([context, code_version(), evaluation.device_name, evaluation.threads])
    made: Made = evaluation.shelf.get(key, lambda: _make(evaluation, row, threat, start, stop, seed_from(context)))
    return made


def _make(evaluation: Evaluation, row: AttackRow, threat: int, start: int, stop: int, seed: int) -> Made:
    inputs, labels = evaluation.block_of(start, stop)
    wanted = threat_of(row, evaluation.threats[threat], evaluation.inputs)
    surrogate = evaluation.workshop.surrogate(row.surrogate)
    attack = build_attack(row, wanted.norm, served=False)
    torch.manual_seed(seed)
    before = (surrogate.passes.forwards, surrogate.passes.backwards)
    crafted = tuple(
        craft(Transfer(surrogate, attack), evaluation.jury.models["base"], inputs, labels, wanted)
        for _ in range(row.draws)
    )
    return Made(crafted, surrogate.passes.forwards - before[0], surrogate.passes.backwards - before[1])


def verdicts(jury: Jury, examples: Tensor, labels: Tensor, *, only: str | None = None) -> dict[str, Tensor]:
    """Return, for each judge, which examples it answers right, `[epsilon batch]` bool.

    Args:
        jury: the judges.
        examples: `[epsilon batch channel height width]` on the CPU.
        labels: `[batch]` on the CPU.
        only: the name of the only judge to ask, with its members.
    """
    rungs = [jury.held(rung, labels, only=only) for rung in examples]
    return {name: torch.stack([rung[name] for rung in rungs]) for name in rungs[0]}


def joined(blocks: Sequence[Crafted]) -> Crafted:
    """Return blocks of points as one.

    Args:
        blocks: at least one, with equal radii.
    """
    return Crafted(
        torch.cat([block.examples for block in blocks], dim=1),
        torch.cat([block.fooled for block in blocks], dim=1),
        tuple(max(values) for values in zip(*(block.excess for block in blocks), strict=True)),
        all(block.finite for block in blocks),
    )
