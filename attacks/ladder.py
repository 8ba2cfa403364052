"""The driver of one attack on one block: an epsilon ladder of cold runs, clipped, re-measured in float32."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.targets import NetworkModel
from attacks.threat import ThreatModel, measure


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
    found = torch.stack([clipped for clipped, _ in rungs]).detach().clamp(*threat.bounds).cpu()
    finite = torch.isfinite(found)
    examples = torch.where(finite.flatten(2).all(2)[(..., *[None] * (inputs.ndim - 1))], found, inputs)
    sizes = [measure(threat.norm, rung - inputs).max().item() for rung in examples]
    excess = tuple(size - epsilon for size, epsilon in zip(sizes, threat.epsilons, strict=True))
    fooled = torch.stack([verdict for _, verdict in rungs]).detach().cpu()
    return Crafted(examples, fooled, excess, bool(finite.all()))


def _rung(attack: Any, model: NetworkModel, x: Tensor, y: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return foolbox's clipped examples and its verdict for one radius."""
    if epsilon == 0:
        return x, model.logits(x).argmax(dim=1) != y
    _, clipped, fooled = attack(model, x, y, epsilons=epsilon)
    return clipped, fooled
