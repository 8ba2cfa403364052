"""What members have in common: input gradients, losses on each other's examples, and answers on and off the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attacks.gradient.keeping import served_margin
from attacks.stacked import stacked_members
from attacks.targets import EnsembleModel, NetworkModel
from attacks.targets.models import finite
from ensemble.members import SymmetryEnsemble


def member_gradients(model: EnsembleModel, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the input gradient of each member's margin, `[member batch features]` in float64.

    The margin, not the cross-entropy: on confident points the latter's gradient is rounding noise.

    Args:
        model: the ensemble.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
    """
    gradients = []
    for index in range(_members(model, inputs)):
        with torch.enable_grad():
            x = inputs.to(model.device).requires_grad_()
            margin = served_margin(_logits_of(model, index, x), labels.to(model.device)).sum()
            (gradient,) = torch.autograd.grad(margin, x)
        gradients.append(gradient.flatten(1).double().cpu())
    return torch.stack(gradients)


def _members(model: EnsembleModel, inputs: Tensor) -> int:
    return len(model.member_answers(inputs[:1]))


def _logits_of(model: EnsembleModel, index: int, inputs: Tensor) -> Tensor:
    if isinstance(model.network, SymmetryEnsemble):
        logits: Tensor = stacked_members(model, range(index, index + 1))(inputs)
        return logits
    return model.member_logits(inputs)[:, index]  # costs a pass of all members: other ensembles have no single ones


def pairwise_cosine(gradients: Tensor) -> Tensor:
    """Return the mean cosine of two members' input gradients, `[member member]`; a vanished gradient counts as 0.

    Args:
        gradients: `[member batch features]`.
    """
    unit = functional.normalize(gradients, dim=2, eps=1e-12)
    cosine: Tensor = torch.einsum("mbf,kbf->mk", unit, unit) / gradients.shape[1]
    return cosine


def off_diagonal_mean(matrix: Tensor) -> float:
    """Return the mean of a square matrix off its diagonal; 1 for a single member.

    Args:
        matrix: `[member member]`.
    """
    count = len(matrix)
    if count < 2:
        return 1.0
    return float((matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1)))


def cross_adversarial_loss(model: EnsembleModel, examples: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each member (column) on the examples made on each member (row).

    Args:
        model: the ensemble.
        examples: `[member batch channel height width]`.
        labels: `[batch]` int64 on the CPU.

    Returns:
        `[member member]`; off the diagonal it is what one member's examples do to another (transferability loss).
    """
    rows = []
    for own in examples:
        with torch.no_grad():
            logits = finite(model.member_logits(own).float())
        members = logits.shape[1]
        target = labels.to(logits.device)[:, None].expand(-1, members)
        losses = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        rows.append(losses.unflatten(0, (-1, members)).mean(0).cpu())
    return torch.stack(rows)


def disagreement(model: EnsembleModel, base: NetworkModel, inputs: Tensor) -> dict[str, float]:
    """Return how far members and base differ on some inputs.

    Args:
        model: the ensemble.
        base: the base network.
        inputs: `[batch channel height width]`.

    Returns:
        `disagreement`: mean share of inputs on which two members answer differently; `differs_from_base`: share on
        which the ensemble answers differently from the base; `divergence`: mean KL(base || member) in nats.
    """
    with torch.no_grad():
        logits = finite(model.member_logits(inputs).float()).cpu()
    answers = logits.argmax(2)
    different = (answers[:, :, None] != answers[:, None, :]).double().mean(0)
    own = base.logits(inputs).cpu()
    reference = functional.log_softmax(own, 1)[:, None]
    log_members = functional.log_softmax(logits, 2)
    divergence = (reference.exp() * (reference - log_members)).sum(2).mean()
    served = model.answers(inputs) != own.argmax(1)
    members = answers.shape[1]
    pairs = float(different.sum() / (members * (members - 1))) if members > 1 else 0.0
    return {
        "disagreement": pairs,
        "differs_from_base": float(served.double().mean()),
        "divergence": float(divergence.clamp(min=0)),
    }


def prefix_accuracy(model: EnsembleModel, member_logits: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """Return the served accuracy of the first 1, 2, 4, .. and all members, on fixed examples.

    Args:
        model: for the serving rule.
        member_logits: `[member batch classes]` on the examples.
        labels: `[batch]` int64.

    Returns:
        Rows of members, correct answers `k`, points `n`, and accuracy; the cost grows with the members.
    """
    size = len(member_logits)
    counts = sorted({*(2**i for i in range(size.bit_length()) if 2**i <= size), size})
    rows = []
    for count in counts:
        right = _share_right(model, member_logits[:count], labels)
        rows.append({"members": count, "k": float(right.sum()), "n": len(labels), "accuracy": float(right.mean())})
    return rows


def accuracy_without(model: EnsembleModel, member_logits: Tensor, labels: Tensor) -> list[float]:
    """Return the served accuracy with each member left out in turn, on fixed examples.

    Args:
        model: for the serving rule.
        member_logits: `[member batch classes]` on the examples, at least two members.
        labels: `[batch]` int64.
    """
    kept = [[k for k in range(len(member_logits)) if k != index] for index in range(len(member_logits))]
    return [float(_share_right(model, member_logits[rest], labels).mean()) for rest in kept]


def _share_right(model: EnsembleModel, member_logits: Tensor, labels: Tensor) -> Tensor:
    """Return `[batch]` float64: right or not, and under random serving the share of members that are right."""
    if model.serving.random:
        return (member_logits.argmax(2) == labels).double().mean(0)
    return (model.serving.scores(member_logits).argmax(1) == labels).double()


def member_numbers(model: EnsembleModel, examples: Sequence[Tensor], labels: Tensor) -> Mapping[str, Any]:
    """Return accuracy against the number of members and with one left out, on fixed no-query examples.

    Args:
        model: the ensemble.
        examples: blocks `[batch channel height width]` made without the target.
        labels: `[points]` int64 of all blocks.
    """
    with torch.no_grad():
        logits = torch.cat([finite(model.member_logits(x).float()).transpose(0, 1).cpu() for x in examples], dim=1)
    without = accuracy_without(model, logits, labels) if len(logits) > 1 else [0.0]
    return {"points": len(labels), "prefixes": prefix_accuracy(model, logits, labels), "without": without}
