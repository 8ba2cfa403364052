"""Which iterate of an attack is returned, and when a point is finished."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def served_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y minus the largest other logit, `[batch]`: negative exactly where the served answer is wrong.

    Args:
        logits: `[batch classes]`, of the rule as served.
        labels: `[batch]` int64.

    Returns:
        `[batch]`, in logit units.
    """
    index = labels[:, None]
    others = logits.scatter(1, index, -torch.inf)
    return logits.gather(1, index)[:, 0] - others.amax(dim=1)


def negative_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the cross-entropy of each point, `[batch]`: lower is better for an attacker on its surrogate.

    Args:
        logits: `[batch classes]`.
        labels: `[batch]` int64.

    Returns:
        `[batch]`, <= 0.
    """
    return -functional.cross_entropy(logits, labels, reduction="none")


def no_preference(logits: Tensor, labels: Tensor) -> Tensor:
    """Return zeros, `[batch]`: of iterates that cannot be compared the latest is kept.

    Args:
        logits: `[batch classes]`.
        labels: `[batch]` int64.
    """
    return torch.zeros_like(labels, dtype=logits.dtype)


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Which iterate is the best one, and when a point needs no more steps.

    Attributes:
        rank: (logits, labels) -> `[batch]`; the iterate of lowest rank is returned, the later one of two
            equals. Of a targeted attack the
            iterate of highest rank for the wished classes is.
        stop_below: a point whose best rank is below this is finished; None never stops early.
    """

    rank: Callable[[Tensor, Tensor], Tensor]
    stop_below: float | None


#: White box: the iterate deepest in the wrong, by the rule as served; fooled points stop.
KEEP_SERVED_MARGIN = KeepRule(served_margin, stop_below=0.0)
#: Transfer: the iterate of highest surrogate loss, all steps taken. Stopping at the surrogate's boundary would destroy
#: transfer, and the target is never asked.
KEEP_SURROGATE_LOSS = KeepRule(negative_loss, stop_below=None)
#: A surrogate that changes its weights from step to step: losses of two steps belong to two networks, and the iterate
#: that happened to meet the weakest of them is no better than another.
KEEP_LAST = KeepRule(no_preference, stop_below=None)
