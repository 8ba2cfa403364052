"""The driver of one attack on one block: an epsilon ladder of cold runs, clipped, re-measured in float32."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.targets import NetworkModel
from attacks.threat import ThreatModel, measure

#: (examples, labels) -> `[batch]` bool: which of them the judge still answers right.
Verdict = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Crafted:
    """The examples of one attack on one block, with their postcondition.

    Attributes:
        examples: `[epsilon batch channel height width]` float32 on the CPU, inside the box.
        fooled: `[epsilon batch]` bool, foolbox's own verdict on the model it crafted on.
        excess: per epsilon, the largest measured norm minus epsilon; at most the threat model's tolerance.
        finite: whether every value that the attack returned was finite.
    """

    examples: Tensor
    fooled: Tensor
    excess: tuple[float, ...]
    finite: bool


def craft(attack: Any, model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel) -> Crafted:
    """Return one run of an attack at every epsilon of the threat model.

    Each epsilon is a cold run. foolbox's clipped result is clipped to the box once more, because its last addition may
    leave the box by one rounding; norms are then measured on what is returned. Epsilon 0 needs no attack (and some of
    foolbox's divide by it): the ball is the input itself. A point that came back as NaN counts as not attacked, and
    `finite` says so, which fails check A3.

    Args:
        attack: a foolbox fixed-epsilon attack.
        model: what foolbox scores on; what gradients are taken through unless the attack is a transfer.
        inputs: `[batch channel height width]` float32 on the CPU.
        labels: `[batch]` int64 on the CPU.
        threat: norm, epsilons and bounds.

    Returns:
        The examples and how far they are from the inputs.
    """
    x, y = inputs.to(model.device), labels.to(model.device)
    rungs = [_rung(attack, model, x, y, epsilon) for epsilon in threat.epsilons]
    found = [settle(clipped, inputs, threat) for clipped, _ in rungs]
    examples = torch.stack([points for points, _ in found])
    excess = tuple(
        passed(points, inputs, threat, epsilon) for points, epsilon in zip(examples, threat.epsilons, strict=True)
    )
    fooled = torch.stack([verdict for _, verdict in rungs]).detach().cpu()
    return Crafted(examples, fooled, excess, all(finite for _, finite in found))


def craft_nearest(
    attack: Any, model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel
) -> tuple[Crafted, Tensor]:
    """Return one run of an attack that looks for the nearest example, judged at every epsilon by its distance.

    Args:
        attack: a foolbox minimisation attack; its `outcome.reach` is the distance of what it found, infinity for none.
        model: what is asked.
        inputs: `[batch channel height width]` float32 on the CPU.
        labels: `[batch]` int64 on the CPU.
        threat: norm, epsilons and bounds.

    Returns:
        The examples, the input itself where the nearest one lies outside the ball; and the distances `[batch]`.
    """
    found = attack.run(model, inputs.to(model.device), labels.to(model.device))
    examples, finite = settle(found, inputs, threat)
    started = torch.isfinite(attack.outcome.reach.cpu())
    reach = torch.where(started, measure(threat.norm, examples - inputs), torch.inf)
    rungs = []
    for epsilon in threat.epsilons:
        inside = (reach <= epsilon + threat.tolerance)[(..., *[None] * (inputs.ndim - 1))]
        rungs.append(torch.where(inside, examples, inputs))
    stacked = torch.stack(rungs)
    pairs = zip(stacked, threat.epsilons, strict=True)
    excess = tuple(passed(points, inputs, threat, epsilon) for points, epsilon in pairs)
    fooled = torch.stack([~model.held(points, labels) for points in stacked])
    return Crafted(stacked, fooled, excess, finite), reach


def settle(found: Tensor, inputs: Tensor, threat: ThreatModel) -> tuple[Tensor, bool]:
    """Return what an attack gave back as examples on the CPU, inside the box, and whether all of it was finite.

    Args:
        found: `[batch ...]`, on any device.
        inputs: `[batch ...]` on the CPU; stand in for what is not finite.
        threat: for the box.
    """
    clipped = found.detach().clamp(*threat.bounds).cpu()
    finite = torch.isfinite(clipped).flatten(1).all(1)
    return torch.where(finite[(..., *[None] * (inputs.ndim - 1))], clipped, inputs), bool(finite.all())


def passed(examples: Tensor, inputs: Tensor, threat: ThreatModel, epsilon: float) -> float:
    """Return the largest norm of some perturbations minus epsilon.

    Args:
        examples: `[batch ...]`.
        inputs: `[batch ...]`.
        threat: for the norm.
        epsilon: the radius.
    """
    size = measure(threat.norm, examples - inputs).max().item() if len(inputs) else 0.0
    return size - epsilon


def full_range(threat: ThreatModel, inputs: Tensor) -> float:
    """Return the radius of a ball that holds the whole box, whatever the input.

    Args:
        threat: norm and box.
        inputs: for the number of features.
    """
    width = threat.bounds[1] - threat.bounds[0]
    features = inputs[0].numel()
    return width * {"linf": 1.0, "l2": math.sqrt(features), "l1": float(features)}[threat.norm]


def _rung(attack: Any, model: NetworkModel, x: Tensor, y: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return foolbox's clipped examples and its verdict for one radius."""
    if epsilon == 0:
        return x, model.logits(x).argmax(dim=1) != y
    _, clipped, fooled = attack(model, x, y, epsilons=epsilon)
    return clipped, fooled
