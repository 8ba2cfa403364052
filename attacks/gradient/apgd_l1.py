"""Auto-PGD for the L1 ball inside a box (Croce & Hein, 2021): sparse steps, and a projection onto both at once.

Projecting onto the ball and then onto the box wastes most of an L1 radius, and steepest ascent changes one value at a
time. Here a step changes the share of the values that the best perturbation uses, and that share adapts. Their run at
larger radii first is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from foolbox.distances import l1
from torch import Tensor

from attacks.gradient.apgd import AutoPGD
from attacks.gradient.ball import Ball, per_point
from attacks.gradient.climb import Found, Reading
from attacks.gradient.dlr import cross_entropy
from attacks.gradient.goal import Goal
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule
from attacks.norm_table import row_of_norm

#: Halvings of the interval that holds the threshold of the projection: enough for float32.
BISECTIONS = 60
#: Share of the values that the first steps change.
FIRST_SHARE = 0.2
#: Share of the steps between two looks at the sparsity.
EVERY = 0.04
#: A best perturbation this much sparser than at the last look starts afresh; else the step shrinks by the second.
SPARSER, SHRINK = 0.95, 1.5
#: The next steps change this many times fewer values than the best perturbation does.
NARROW = 1.5
#: The step never falls below this share of its first length.
LEAST_STEP = 0.1


def project_l1(x: Tensor, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
    """Return the nearest point of ball and box together.

    Each change is reduced by one threshold per point and cut at the box: min(max(|d| - t, 0), room), with the least t
    >= 0 for which these add up to at most epsilon (Croce & Hein 2021, proposition 2.1); t is found by bisection.

    Args:
        x: `[batch ...]`.
        origin: the centres, inside the box.
        epsilon: the L1 radius.
        bounds: (low, high) of the box.

    Returns:
        `[batch ...]`.
    """
    delta = (x - origin).flatten(1)
    flat = origin.flatten(1)
    room = torch.where(delta > 0, bounds[1] - flat, flat - bounds[0])
    size = delta.abs()
    low, high = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    fits = torch.minimum(size, room).sum(1, keepdim=True) <= epsilon
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        over = torch.minimum((size - middle).clamp_min(0), room).sum(1, keepdim=True) > epsilon
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    threshold = torch.where(fits, torch.zeros_like(high), high)
    change = torch.minimum((size - threshold).clamp_min(0), room) * delta.sign()
    return (flat + change).view_as(origin).clamp(*bounds)


class L1Ball(Ball):
    """The L1 ball, whose projection knows the box."""

    __slots__ = ()

    def project(self, x: Tensor, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
        """Return the nearest point of ball and box together; see `project_l1`."""
        return project_l1(x, origin, epsilon, bounds)

    def start(self, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
        """Return a random point of ball and box: Gaussian noise, projected."""
        return project_l1(origin + torch.randn(origin.shape).to(origin), origin, epsilon, bounds)


def _unused(delta: Tensor, epsilon: float) -> Tensor:
    raise TypeError("the L1 ball projects onto ball and box at once")


L1 = L1Ball(l1, torch.sign, _unused, _unused)

#: It is made for one norm.
BALLS: Mapping[str, L1Ball] = MappingProxyType({"l1": L1})


def free_gradient(gradient: Tensor, x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the gradient without the values that already lie at the side of the box it points to.

    A sparse step would be spent on them again and again.

    Args:
        gradient: `[batch ...]`.
        x: `[batch ...]`, inside the box.
        bounds: (low, high) of the box.
    """
    blocked = ((x <= bounds[0]) & (gradient < 0)) | ((x >= bounds[1]) & (gradient > 0))
    return gradient.masked_fill(blocked, 0.0)


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """Return the signs of each point's largest gradients, of L1 length one.

    Args:
        gradient: `[batch ...]`.
        share: `[batch]`, of the values that change; at least one does.
    """
    size = gradient.flatten(1).abs()
    kept = (share * size.shape[1]).long().clamp(1, size.shape[1])
    least = size.sort(dim=1, descending=True).values.gather(1, kept[:, None] - 1)
    signs = torch.where(size >= least, gradient.flatten(1).sign(), 0.0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


@dataclass(slots=True, eq=False)
class SparseClimb:
    """The running state of the points still being attacked; one row per point.

    Attributes:
        index: which point of the batch.
        x: the current iterate.
        gradient: at `x`.
        best_x: the iterate of highest loss.
        best_gradient: there.
        best_loss: there.
        step: the L1 length of a step.
        share: of the values that a step changes.
        used: values that the best perturbation changed at the last look.
    """

    index: Tensor
    x: Tensor
    gradient: Tensor
    best_x: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor
    share: Tensor
    used: Tensor

    @classmethod
    def begin(cls, index: Tensor, x: Tensor, reading: Reading, epsilon: float) -> "SparseClimb":
        """Return the state at the first iterate."""
        step = torch.full_like(reading.loss, epsilon)
        used = torch.full_like(step, x[:1].numel())
        share = torch.full_like(step, FIRST_SHARE)
        return cls(index, x, reading.gradient, x, reading.gradient, reading.loss, step, share, used)

    def only(self, points: Tensor) -> "SparseClimb":
        """Return the state of some points, `[points]` bool."""
        return self if bool(points.all()) else SparseClimb(*(getattr(self, f.name)[points] for f in fields(self)))

    def moved(self, x: Tensor, reading: Reading) -> "SparseClimb":
        """Return the state after a step to x."""
        better = reading.loss > self.best_loss
        pick = per_point(better, x)
        return replace(
            self,
            x=x,
            gradient=reading.gradient,
            best_x=torch.where(pick, x, self.best_x),
            best_gradient=torch.where(pick, reading.gradient, self.best_gradient),
            best_loss=torch.where(better, reading.loss, self.best_loss),
        )

    def looked_at(self, origin: Tensor, epsilon: float) -> "SparseClimb":
        """Return the state after a look at the best perturbation's sparsity.

        Args:
            origin: the inputs of these points.
            epsilon: the L1 radius.
        """
        used = (self.best_x != origin).flatten(1).sum(1).to(self.used)
        afresh = used < SPARSER * self.used
        pick = per_point(afresh, self.x)
        step = torch.where(afresh, torch.full_like(self.step, epsilon), self.step / SHRINK)
        return replace(
            self,
            x=torch.where(pick, self.best_x, self.x),
            gradient=torch.where(pick, self.best_gradient, self.gradient),
            step=step.clamp(LEAST_STEP * epsilon, epsilon),
            share=used / origin[:1].numel() / NARROW,
            used=used,
        )


class L1AutoPGD(AutoPGD):
    """Auto-PGD in the L1 ball; same arguments and calls as `AutoPGD`, which does all but the climb."""

    def _climb(
        self, model: Any, origin: Tensor, goal: Goal, index: Tensor, x: Tensor, epsilon: float, found: Found
    ) -> None:
        """Run the sparse climb from x on the points of `index`, and keep what is better in `found`."""
        every = max(int(EVERY * self.steps), 1)
        reading = self.read(model, x, goal[index])
        found.keep(index, x, reading.rank)
        climb = SparseClimb.begin(index, x, reading, epsilon)
        for done in range(1, self.steps + 1):
            if self.keep.stop_below is not None:
                climb = climb.only(found.rank[climb.index] >= self.keep.stop_below)
            if len(climb.index) == 0:
                return
            free = free_gradient(climb.gradient, climb.x, model.bounds)
            step = per_point(climb.step, climb.x) * sparse_direction(free, climb.share)
            x = self.ball.project(climb.x + step, origin[climb.index], epsilon, model.bounds)
            if done == self.steps:
                found.keep(climb.index, x, self.glance(model, x, goal[climb.index]))
                return
            reading = self.read(model, x, goal[climb.index])
            found.keep(climb.index, x, reading.rank)
            climb = climb.moved(x, reading)
            if done % every == 0:
                climb = climb.looked_at(origin[climb.index], epsilon)


def apgd_l1(norm: str, *, steps: int = 100, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN) -> L1AutoPGD:
    """Return Auto-PGD on the cross-entropy for the L1 ball.

    Args:
        norm: "l1".
        steps: gradient passes of one restart.
        restarts: runs from a random point.
        keep: which iterate is returned.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    ball = row_of_norm(BALLS, "the L1 attack", norm)
    return L1AutoPGD(ball, cross_entropy, steps=steps, restarts=restarts, keep=keep)
