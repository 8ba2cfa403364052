"""The losses an attack climbs, per point: cross-entropy, and the difference-of-logits ratio of Croce & Hein (2020).

The ratio is unchanged by adding a constant to all logits and by multiplying them, so large logits cannot make its
gradient vanish, and log-probabilities give the same value as the logits they came from.
"""

from torch import Tensor

from attacks.gradient.goal import Goal
from attacks.gradient.keeping import served_margin

#: Keeps a ratio finite where the largest logits are equal; far below any real difference of logits.
TINY = 1e-12


def cross_entropy(logits: Tensor, goal: Goal) -> Tensor:
    """Return the cross-entropy of each point, `[batch]`; negative where the class must be reached.

    Args:
        logits: `[batch classes]`.
        goal: of each point.
    """
    return goal.loss(logits)


def dlr(logits: Tensor, goal: Goal) -> Tensor:
    """Return the difference-of-logits ratio -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)), `[batch]`.

    Croce & Hein (2020), equation (6). With two classes there is no third logit: the margin itself is returned.

    Args:
        logits: `[batch classes]`, or log-probabilities.
        goal: of each point.
    """
    lead = goal.sign * served_margin(logits, goal.labels)
    if logits.shape[1] < 3:
        return -lead
    largest = logits.topk(3, dim=1).values
    return -lead / (largest[:, 0] - largest[:, 2] + TINY)


def dlr_targeted(logits: Tensor, goal: Goal) -> Tensor:
    """Return -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), `[batch]`, t the rival of each point.

    Croce & Hein (2020), equation (7). With fewer than four classes the numerator alone is returned. A goal that names
    the class to reach needs no rival: that class is t, and the largest other logit stands for y.

    Args:
        logits: `[batch classes]`, or log-probabilities.
        goal: of each point.
    """
    lead = goal.sign * _lead(logits, goal)
    if logits.shape[1] < 4:
        return -lead
    largest = logits.topk(4, dim=1).values
    return -lead / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + TINY)


def _lead(logits: Tensor, goal: Goal) -> Tensor:
    """Return z_y - z_t, or the margin of y over all others where no rival is named."""
    if goal.rivals is None:
        return served_margin(logits, goal.labels)
    columns = logits.gather(1, goal.labels[:, None]) - logits.gather(1, goal.rivals[:, None])
    return columns[:, 0]
