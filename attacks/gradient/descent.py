"""Projected gradient descent that returns its best iterate: foolbox's base class with its last-iterate quirk repaired.

The public call stays foolbox's (it clips, measures and scores); only `run` differs. The inner loop is plain torch, and
shows the model only those points that still need steps.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import raise_if_kwargs, verify_input_bounds
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from torch import Tensor

from attacks.gradient.goal import Goal, goal_of
from attacks.gradient.keeping import (
    KEEP_LAST,
    KEEP_SERVED_MARGIN,
    KEEP_SURROGATE_LOSS,
    KeepRule,
    negative_loss,
    served_margin,
)

__all__ = [
    "KEEP_SERVED_MARGIN",
    "KEEP_SURROGATE_LOSS",
    "Attempt",
    "KeepBestGradientDescent",
    "KeepRule",
    "negative_loss",
    "served_margin",
]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One run on one batch: what the hooks of an attack may read, and where they keep their state.

    Attributes:
        model: what gradients are taken through.
        origin: `[batch ...]`, the inputs.
        goal: of the whole batch.
        epsilon: the radius, in input units.
        keep: which iterate is returned.
        memory: tensors shaped like `origin`, by name; made of zeros when first recalled.
    """

    model: Any
    origin: Tensor
    goal: Goal
    epsilon: float
    keep: KeepRule
    memory: dict[str, Tensor] = field(default_factory=dict)

    def recall(self, name: str, rows: Tensor) -> Tensor:
        """Return what was remembered of some points, zeros at first.

        Args:
            name: of the state, e.g. "momentum".
            rows: `[chosen]`, indices into the batch.

        Returns:
            `[chosen ...]`.
        """
        return self._whole(name)[rows]

    def remember(self, name: str, rows: Tensor, value: Tensor) -> None:
        """Keep the state of some points for the next step.

        Args:
            name: of the state.
            rows: `[chosen]`, indices into the batch.
            value: `[chosen ...]`.
        """
        self._whole(name)[rows] = value

    def _whole(self, name: str) -> Tensor:
        if name not in self.memory:
            self.memory[name] = torch.zeros_like(self.origin)
        return self.memory[name]


class KeepBestGradientDescent(BaseGradientDescent):  # type: ignore[misc]
    """Gradient ascent on the attacker's loss inside a ball and a box; combine with a foolbox norm class.

    Three methods may be overridden, and are called with the points that still need steps: `loss` (what is raised),
    `value_and_grad` (how its gradient is estimated) and `direction` (where a gradient leads).

    Args:
        steps: gradient steps.
        rel_stepsize: the step as a share of epsilon.
        random_start: start at a random point of the ball, else at the input.
        keep: which iterate is returned; the last one where the model changes its weights from step to step.
    """

    def __init__(self, *, steps: int, rel_stepsize: float, random_start: bool = True, keep: KeepRule) -> None:
        super().__init__(rel_stepsize=rel_stepsize, steps=steps, random_start=random_start)
        self.keep = keep

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
        """Return the best iterate of each point; the input itself is the first candidate.

        Args:
            model: what gradients are taken through.
            inputs: `[batch channel height width]` float32, inside the model's bounds.
            criterion: the true labels, or foolbox's `Misclassification` or `TargetedMisclassification`.
            epsilon: the radius, in input units.
            starting_points: where to start instead of a random point, inside ball and box.
            kwargs: nothing else is accepted.

        Returns:
            Perturbed inputs, same type and shape as `inputs`.

        Raises:
            InputError: another criterion.
        """
        raise_if_kwargs(kwargs)
        wrapped, restore = ep.astensor_(inputs)
        goal = goal_of(criterion)
        verify_input_bounds(wrapped, model)
        start = self._start(wrapped, model, epsilon) if starting_points is None else starting_points
        keep = KEEP_LAST if getattr(model, "changes", False) else self.keep
        best = self._descend(Attempt(model, wrapped.raw, goal, epsilon, keep), start)
        return restore(ep.astensor(best))

    def loss(self, logits: Tensor, goal: Goal) -> Tensor:
        """Return what a step raises, `[batch]`: the cross-entropy of the goal.

        Args:
            logits: `[batch classes]`, with a gradient.
            goal: of these points.
        """
        return goal.loss(logits)

    def value_and_grad(self, attempt: Attempt, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the model's answer at the iterates and the gradient to step along.

        Args:
            attempt: the run.
            x: `[chosen ...]`, the iterates of the points that still need steps.
            rows: `[chosen]`, which points of the batch they are.

        Returns:
            Logits `[chosen classes]`, which decide what is kept, and the gradient of the loss `[chosen ...]`.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = attempt.model(x)
            (gradient,) = torch.autograd.grad(self.loss(logits, attempt.goal[rows]).sum(), x)
        return logits.detach(), gradient

    def direction(self, attempt: Attempt, gradient: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return the step of length one in the attack's norm that a gradient asks for.

        Args:
            attempt: the run.
            gradient: `[chosen ...]`.
            x: `[chosen ...]`, the iterates.
            rows: `[chosen]`, which points of the batch they are.

        Returns:
            `[chosen ...]`.
        """
        step = self.normalize(ep.astensor(gradient), x=ep.astensor(x), bounds=attempt.model.bounds)
        return step.raw  # type: ignore[no-any-return]

    def _start(self, origin: Any, model: Any, epsilon: float) -> Tensor:
        if not self.random_start:
            return origin.raw  # type: ignore[no-any-return]
        return ep.clip(self.get_random_start(origin, epsilon), *model.bounds).raw  # type: ignore[no-any-return]

    def _descend(self, attempt: Attempt, x: Tensor) -> Tensor:
        best = attempt.origin.clone()
        with torch.no_grad():
            rank = attempt.goal.rank(attempt.keep, attempt.model(attempt.origin))
        x = x.clone()
        for _ in range(self.steps):
            rows = _active(attempt.keep, rank)
            if len(rows) == 0:
                break
            with _one_gradient(attempt.model):
                logits, gradient = self.value_and_grad(attempt, x[rows], rows)
            _keep(best, rank, x, rows, attempt.goal[rows].rank(attempt.keep, logits))
            x[rows] = self._moved(attempt, x[rows], rows, gradient)
        rows = _active(attempt.keep, rank)
        if len(rows):
            with torch.no_grad():
                last = attempt.goal[rows].rank(attempt.keep, attempt.model(x[rows]))
            _keep(best, rank, x, rows, last)
        return best

    def _moved(self, attempt: Attempt, x: Tensor, rows: Tensor, gradient: Tensor) -> Tensor:
        step = self.rel_stepsize * attempt.epsilon * ep.astensor(self.direction(attempt, gradient, x, rows))
        moved = self.project(ep.astensor(x) + step, ep.astensor(attempt.origin[rows]), attempt.epsilon)
        return ep.clip(moved, *attempt.model.bounds).raw  # type: ignore[no-any-return]


def _one_gradient(model: Any) -> AbstractContextManager[None]:
    """Tell a model that changes its weights from step to step that all calls inside belong to one step."""
    hold = getattr(model, "one_gradient", None)
    return nullcontext() if hold is None else hold()


def _active(keep: KeepRule, rank: Tensor) -> Tensor:
    """Return the points that need more steps, `[points]` int64."""
    if keep.stop_below is None:
        return torch.arange(len(rank), device=rank.device)
    return (rank >= keep.stop_below).nonzero()[:, 0]


def _keep(best: Tensor, rank: Tensor, x: Tensor, rows: Tensor, new: Tensor) -> None:
    """Take over every iterate that is at least as good as the one held."""
    improved = rows[new <= rank[rows]]
    rank[rows] = torch.minimum(new, rank[rows])
    best[improved] = x[improved]
