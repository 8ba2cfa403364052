"""Projected gradient descent that returns its best iterate: foolbox's base class with its last-iterate quirk repaired.

The public call stays foolbox's (it clips, measures and scores); only `run` differs. The inner loop is plain torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import get_criterion, raise_if_kwargs, verify_input_bounds
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.criteria import Misclassification
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


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Which iterate is the best one, and when a point needs no more steps.

    Attributes:
        rank: (logits, labels) -> `[batch]`; the iterate of lowest rank is returned.
        stop_below: a point whose best rank is below this is finished; None never stops early.
    """

    rank: Callable[[Tensor, Tensor], Tensor]
    stop_below: float | None


#: White box: the iterate deepest in the wrong, by the rule as served; fooled points stop.
KEEP_SERVED_MARGIN = KeepRule(served_margin, stop_below=0.0)
#: Transfer: the iterate of highest surrogate loss, all steps taken. Stopping at the surrogate's boundary would destroy
#: transfer, and the target is never asked.
KEEP_SURROGATE_LOSS = KeepRule(negative_loss, stop_below=None)


class KeepBestGradientDescent(BaseGradientDescent):  # type: ignore[misc]
    """Gradient ascent on the cross-entropy inside a ball and a box; combine with a foolbox norm class.

    Args:
        steps: gradient steps.
        rel_stepsize: the step as a share of epsilon.
        random_start: start at a random point of the ball, else at the input.
        keep: which iterate is returned.
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
            criterion: the true labels, or foolbox's `Misclassification`.
            epsilon: the radius, in input units.
            starting_points: where to start instead of a random point, inside ball and box.
            kwargs: nothing else is accepted.

        Returns:
            Perturbed inputs, same type and shape as `inputs`.

        Raises:
            ValueError: a targeted criterion.
        """
        raise_if_kwargs(kwargs)
        wrapped, restore = ep.astensor_(inputs)
        criterion = get_criterion(criterion)
        if not isinstance(criterion, Misclassification):
            raise ValueError(
                f"criterion: expected untargeted misclassification, got {type(criterion).__name__}; "
                "pass the true labels"
            )
        verify_input_bounds(wrapped, model)
        start = self._start(wrapped, model, epsilon) if starting_points is None else starting_points
        best = self._descend(model, wrapped.raw, criterion.labels.raw, start, epsilon)
        return restore(ep.astensor(best))

    def _start(self, origin: Any, model: Any, epsilon: float) -> Tensor:
        if not self.random_start:
            return origin.raw  # type: ignore[no-any-return]
        return ep.clip(self.get_random_start(origin, epsilon), *model.bounds).raw  # type: ignore[no-any-return]

    def _descend(self, model: Any, origin: Tensor, labels: Tensor, x: Tensor, epsilon: float) -> Tensor:
        best = origin.clone()
        with torch.no_grad():
            rank = self.keep.rank(model(origin), labels)
        x = x.clone()
        for _ in range(self.steps):
            active = self._active(rank)
            if len(active) == 0:
                break
            logits, gradient = _logits_and_gradient(model, x[active], labels[active])
            self._keep(best, rank, x, active, logits, labels)
            x[active] = self._step(model, x[active], origin[active], gradient, epsilon)
        active = self._active(rank)
        if len(active):
            with torch.no_grad():
                self._keep(best, rank, x, active, model(x[active]), labels)
        return best

    def _active(self, rank: Tensor) -> Tensor:
        if self.keep.stop_below is None:
            return torch.arange(len(rank), device=rank.device)
        return (rank >= self.keep.stop_below).nonzero()[:, 0]

    def _keep(self, best: Tensor, rank: Tensor, x: Tensor, active: Tensor, logits: Tensor, labels: Tensor) -> None:
        new = self.keep.rank(logits, labels[active])
        improved = active[new < rank[active]]
        rank[active] = torch.minimum(new, rank[active])
        best[improved] = x[improved]

    def _step(self, model: Any, x: Tensor, origin: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
        x_, origin_ = ep.astensor(x), ep.astensor(origin)
        direction = self.normalize(ep.astensor(gradient), x=x_, bounds=model.bounds)
        moved = self.project(x_ + self.rel_stepsize * epsilon * direction, origin_, epsilon)
        return ep.clip(moved, *model.bounds).raw  # type: ignore[no-any-return]


def _logits_and_gradient(model: Any, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels, reduction="sum"), x)
    return logits.detach(), gradient
