r"""Which of many members to keep: the subset whose input gradients point most differently.

Greedy maximum of the log-determinant of the similarity kernel (a determinantal point process): each step adds the
member that is least explained by those already kept. Gradient diversity is a proxy for low transfer between members,
never evidence of robustness.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ensemble.errors import InputError
from ensemble.members import SymmetryEnsemble


def gradient_similarity(ensemble: SymmetryEnsemble, inputs: Tensor, *, chunk: int = 64) -> Tensor:
    """Return the mean cosine of members' input gradients `[member member]`, float64 on the CPU.

    The loss is the cross-entropy towards each member's own clean answer, so no label is needed.

    Args:
        ensemble: the members.
        inputs: `[n ...]`.
        chunk: inputs per backward pass.
    """
    total = torch.zeros(ensemble.size, ensemble.size, dtype=torch.float64)
    for part in inputs.split(chunk):
        directions = F.normalize(_gradients(ensemble, part).flatten(2), dim=-1)
        total += torch.einsum("mbf,nbf->mn", directions, directions).double().cpu()
    return total / len(inputs)


def most_diverse(similarity: Tensor, count: int) -> tuple[int, ...]:
    """Return `count` indices, ascending, by greedy log-determinant of a similarity kernel `[member member]`.

    Ties go to the smallest index, so the choice is a function of the kernel.

    Raises:
        InputError: more members asked for than there are.
    """
    size = similarity.shape[0]
    if not 1 <= count <= size:
        raise InputError(f"selection: expected 1 to {size} members, got {count}")
    # Conditional variances, updated as in a pivoted Cholesky factorisation.
    variance = similarity.diagonal().clone()
    factor = torch.zeros(count, size, dtype=similarity.dtype)
    kept: list[int] = []
    for step in range(count):
        masked = variance.clone()
        masked[kept] = -torch.inf
        best = int(masked.argmax())
        kept.append(best)
        pivot = float(variance[best].clamp_min(1e-12)) ** 0.5
        factor[step] = (similarity[best] - factor[:step].T @ factor[:step, best]) / pivot
        variance = (variance - factor[step].square()).clamp_min(0)
    return tuple(sorted(kept))


def _gradients(ensemble: SymmetryEnsemble, x: Tensor) -> Tensor:
    probe = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = ensemble.member_logits(probe)
        labels = logits.argmax(-1)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").reshape(labels.shape)
        gradients = [
            torch.autograd.grad(loss.sum(), probe, retain_graph=index + 1 < len(losses))[0]
            for index, loss in enumerate(losses)
        ]
    return torch.stack(gradients)
