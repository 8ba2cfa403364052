"""The state of Auto-PGD: when steps are halved, where each point stands, and the best example found so far.

Croce & Hein (2020), algorithm 1. Everything is one tensor per field with one row per point, so that points can leave.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from attacks.gradient.ball import per_point
from attacks.gradient.keeping import KeepRule

#: A checkpoint passes when at least this share of the steps since the last one raised the loss.
PROGRESS = 0.75


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps after which the step length is reconsidered, ascending, below `steps`.

    Croce & Hein (2020), section 4.2: p_1 = 0.22, then p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), w_j = ceil(p_j
    steps). Counted in hundredths, so that no rounding of floating point moves a checkpoint.

    Args:
        steps: of the whole run.
    """
    previous, share, found = 0, 22, []
    while share < 100:
        found.append(-(-share * steps // 100))
        previous, share = share, share + max(share - previous - 3, 6)
    return tuple(sorted({step for step in found if step < steps}))


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one pass says about each point.

    Attributes:
        loss: `[batch]`, higher is better for the attacker.
        rank: `[batch]` by the keep rule, lower is better.
        gradient: of the loss, `[batch ...]`; zeros from a pass that took none.
    """

    loss: Tensor
    rank: Tensor
    gradient: Tensor


@dataclass(slots=True, eq=False)
class Climb:
    """The running state of the points still being attacked; every field has one row per point.

    Attributes:
        index: which point of the batch.
        x: the current iterate.
        before: the iterate before it.
        gradient: at `x`.
        loss: at `x`.
        best_x: the iterate of highest loss.
        best_gradient: there.
        best_loss: there.
        step: the step length.
        rises: steps since the last checkpoint that raised the loss.
        best_at_checkpoint: the highest loss at the last checkpoint.
        just_halved: whether the last checkpoint halved the step.
    """

    index: Tensor
    x: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    best_x: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor
    rises: Tensor
    best_at_checkpoint: Tensor
    just_halved: Tensor

    @classmethod
    def begin(cls, index: Tensor, x: Tensor, reading: Reading, step: float) -> "Climb":
        """Return the state at the first iterate."""
        loss, gradient = reading.loss, reading.gradient
        length, zero = torch.full_like(loss, step), torch.zeros_like(index)
        return cls(index, x, x, gradient, loss, x, gradient, loss, length, zero, loss, zero.bool())

    def only(self, points: Tensor) -> "Climb":
        """Return the state of some points, `[points]` bool."""
        return self if bool(points.all()) else Climb(*(getattr(self, field.name)[points] for field in fields(self)))

    def moved(self, x: Tensor, reading: Reading) -> "Climb":
        """Return the state after a step to x."""
        better = reading.loss > self.best_loss
        pick = per_point(better, x)
        return replace(
            self,
            x=x,
            before=self.x,
            gradient=reading.gradient,
            rises=self.rises + (reading.loss > self.loss),
            loss=reading.loss,
            best_x=torch.where(pick, x, self.best_x),
            best_gradient=torch.where(pick, reading.gradient, self.best_gradient),
            best_loss=torch.where(better, reading.loss, self.best_loss),
        )

    def at_checkpoint(self, since: int) -> "Climb":
        """Return the state after a checkpoint: too few rises or a standstill halve the step and go back to the best.

        Args:
            since: steps since the last checkpoint.
        """
        stuck = ~self.just_halved & (self.best_at_checkpoint >= self.best_loss)
        halve = (self.rises < PROGRESS * since) | stuck
        pick = per_point(halve, self.x)
        return replace(
            self,
            x=torch.where(pick, self.best_x, self.x),
            gradient=torch.where(pick, self.best_gradient, self.gradient),
            loss=torch.where(halve, self.best_loss, self.loss),
            step=torch.where(halve, self.step / 2, self.step),
            rises=torch.zeros_like(self.rises),
            best_at_checkpoint=self.best_loss,
            just_halved=halve,
        )


@dataclass(slots=True, eq=False)
class Found:
    """The best example of each point so far, by the keep rule.

    Attributes:
        x: `[batch ...]`.
        rank: `[batch]`.
    """

    x: Tensor
    rank: Tensor

    def keep(self, index: Tensor, x: Tensor, rank: Tensor) -> None:
        """Take over every example that is better than the one held."""
        better = rank < self.rank[index]
        self.x[index[better]] = x[better]
        self.rank[index[better]] = rank[better]

    def unfinished(self, keep: KeepRule) -> Tensor:
        """Return the points that need more steps, `[points]` int64."""
        if keep.stop_below is None:
            return torch.arange(len(self.rank), device=self.rank.device)
        return (self.rank >= keep.stop_below).nonzero()[:, 0]
