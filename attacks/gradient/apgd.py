"""Auto-PGD of Croce & Hein (2020): projected gradient ascent that halves its own step and restarts from its best.

Their algorithm 1 decides where each point goes next; which iterate is returned, and when a point is finished, is the
keep rule's business. Wrong points cost one forward pass, fooled points leave the batch at once, and further restarts
see survivors only.
"""

from collections.abc import Iterator
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from torch import Tensor

from attacks.gradient.ball import BALLS, Ball, per_point
from attacks.gradient.climb import Climb, Found, Reading, checkpoints
from attacks.gradient.dlr import cross_entropy, dlr
from attacks.gradient.goal import Goal, PointLoss, goal_of
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule
from attacks.norm_table import row_of_norm

#: Share of a step's length that the new direction gets; the rest is momentum.
MOMENTUM = 0.75


class AutoPGD(FixedEpsilonAttack):  # type: ignore[misc]
    """Auto-PGD on one loss.

    Args:
        ball: a row of `BALLS`.
        loss: what is climbed.
        steps: gradient passes of one restart.
        restarts: runs of each round from a random point; later ones see survivors only.
        keep: which iterate is returned, and when a point is finished.
    """

    def __init__(
        self,
        ball: Ball,
        loss: PointLoss = cross_entropy,
        *,
        steps: int = 100,
        restarts: int = 1,
        keep: KeepRule = KEEP_SERVED_MARGIN,
    ) -> None:
        self.ball = ball
        self.loss = loss
        self.steps = steps
        self.restarts = restarts
        self.keep = keep

    @property
    def distance(self) -> Any:
        """The distance of the ball."""
        return self.ball.distance

    def run(
        self,
        model: Any,
        inputs: Any,
        criterion: Any,
        *,
        epsilon: float,
        starting_points: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the best example of each point by the keep rule; the input itself is the first candidate.

        Croce & Hein (2020), algorithm 1: step sizes of section 4.2, momentum of equation 4.

        Args:
            model: a foolbox model of torch; gradients are taken through it.
            inputs: `[batch ...]` float32, inside the model's bounds.
            criterion: true labels `[batch]` int64, or foolbox's targeted or untargeted criterion.
            epsilon: the radius, in input units, > 0.
            starting_points: `[batch ...]`, where the first restart begins instead of a random point,
                inside ball and box.
            kwargs: nothing else is accepted.

        Returns:
            Examples, same type and shape as `inputs`, inside ball and box.

        Raises:
            InputError: a criterion of another kind.
            AssertionError: an input outside the model's bounds (foolbox's own check).
            TypeError: another keyword.
            ModelFailure: the model raised an error of its own, where it was made by `wrap`.
        """
        raise_if_kwargs(kwargs)
        wrapped, restore = ep.astensor_(inputs)
        verify_input_bounds(wrapped, model)
        goal, origin = goal_of(criterion), wrapped.raw
        with torch.no_grad():
            outputs = self.outputs(model, origin)
            found = Found(origin.clone(), self.rank(outputs, goal))
            rounds = tuple(self.rounds(outputs, goal))
        start = starting_points
        for round_goal in rounds:
            index = found.unfinished(self.keep)
            if len(index) == 0:
                break
            # Drawn for the whole batch, so that a point's start does not depend on which others are left.
            x = self.ball.start(origin, epsilon, model.bounds) if start is None else start
            self._climb(model, origin, round_goal, index, x[index], epsilon, found)
            start = None
        return restore(ep.astensor(found.x))

    def rounds(self, outputs: Tensor, goal: Goal) -> Iterator[Goal]:
        """Yield the goal of each run from a start: one per restart.

        Args:
            outputs: at the inputs.
            goal: of the whole attack.
        """
        for _ in range(self.restarts):
            yield goal

    def outputs(self, model: Any, x: Tensor) -> Tensor:
        """Return what loss and rank are computed from: the served logits `[batch classes]`.

        Args:
            model: the model under attack.
            x: `[batch ...]`.
        """
        logits: Tensor = model(x)
        return logits

    def rank(self, outputs: Tensor, goal: Goal) -> Tensor:
        """Return the rank of each point by the keep rule, `[batch]`.

        Args:
            outputs: of the model.
            goal: of each point.
        """
        return goal.rank(self.keep, outputs)

    def read(self, model: Any, x: Tensor, goal: Goal) -> Reading:
        """Return loss, rank and gradient at x: one forward and one backward pass.

        Args:
            model: the model under attack.
            x: `[batch ...]`.
            goal: of each point.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            outputs = self.outputs(model, x)
            loss = self.loss(outputs, goal)
            (gradient,) = torch.autograd.grad(loss.sum(), x)
        outputs = outputs.detach()
        return Reading(loss.detach(), self.rank(outputs, goal), gradient)

    def glance(self, model: Any, x: Tensor, goal: Goal) -> Tensor:
        """Return the rank of each point at x from a forward pass alone, `[batch]`.

        Args:
            model: the model under attack.
            x: `[batch ...]`.
            goal: of each point.
        """
        with torch.no_grad():
            return self.rank(self.outputs(model, x), goal)

    def _climb(
        self, model: Any, origin: Tensor, goal: Goal, index: Tensor, x: Tensor, epsilon: float, found: Found
    ) -> None:
        """Run algorithm 1 from x on the points of `index`, and keep what is better in `found`."""
        due, last = checkpoints(self.steps), 0
        reading = self.read(model, x, goal[index])
        found.keep(index, x, reading.rank)
        climb = Climb.begin(index, x, reading, 2 * epsilon)
        for done in range(1, self.steps + 1):
            climb = self._alive(climb, found)
            if len(climb.index) == 0:
                return
            x = self._advance(climb, origin[climb.index], epsilon, model.bounds, first=done == 1)
            if done == self.steps:  # the last iterate is only looked at: nothing would use its gradient
                found.keep(climb.index, x, self.glance(model, x, goal[climb.index]))
                return
            reading = self.read(model, x, goal[climb.index])
            found.keep(climb.index, x, reading.rank)
            climb = climb.moved(x, reading)
            if done in due:
                climb, last = climb.at_checkpoint(done - last), done

    def _alive(self, climb: Climb, found: Found) -> Climb:
        if self.keep.stop_below is None:
            return climb
        return climb.only(found.rank[climb.index] >= self.keep.stop_below)

    def _advance(
        self, climb: Climb, origin: Tensor, epsilon: float, bounds: tuple[float, float], *, first: bool
    ) -> Tensor:
        """Return the next iterate: a projected step, then momentum, except at the first step, which has none."""
        step = per_point(climb.step, climb.x) * self.ball.direction(climb.gradient)
        target = self.ball.project(climb.x + step, origin, epsilon, bounds)
        if first:
            return target
        mixed = climb.x + MOMENTUM * (target - climb.x) + (1 - MOMENTUM) * (climb.x - climb.before)
        return self.ball.project(mixed, origin, epsilon, bounds)


def apgd_ce(norm: str, *, steps: int = 100, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN) -> AutoPGD:
    """Return Auto-PGD on the cross-entropy.

    Args:
        norm: a key of `BALLS`.
        steps: gradient passes of one restart.
        restarts: runs from a random point.
        keep: which iterate is returned.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return AutoPGD(row_of_norm(BALLS, "Auto-PGD", norm), cross_entropy, steps=steps, restarts=restarts, keep=keep)


def apgd_dlr(norm: str, *, steps: int = 100, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN) -> AutoPGD:
    """Return Auto-PGD on the difference-of-logits ratio.

    Args:
        norm: a key of `BALLS`.
        steps: gradient passes of one restart.
        restarts: runs from a random point.
        keep: which iterate is returned.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return AutoPGD(row_of_norm(BALLS, "Auto-PGD", norm), dlr, steps=steps, restarts=restarts, keep=keep)
