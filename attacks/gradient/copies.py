"""The mean gradient over transformed copies of each point, taken in forward passes of bounded size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attacks.gradient.descent import Attempt
from attacks.gradient.goal import Goal, PointLoss


@dataclass(frozen=True, slots=True, eq=False)
class Others:
    """The unperturbed batch that a transform may draw other images from.

    Attributes:
        images: `[batch channel height width]`, measured from the lower bound.
        rows: `[shown]`, which of them each image shown belongs to.
    """

    images: Tensor
    rows: Tensor


class Transform(Protocol):
    """A differentiable map from images to copies of them, drawn anew at each call from torch's generator."""

    def __call__(self, images: Tensor, others: Others) -> Tensor:
        """Return the copies.

        Args:
            images: `[shown channel height width]`, measured from the lower bound of the box: zero is black.
            others: the batch they come from.

        Returns:
            `[copies * shown channel height width]`, copy by copy.
        """
        ...


@dataclass(frozen=True, slots=True)
class Copies:
    """Transforms applied in order, and how many copies go through the model at once.

    Attributes:
        transforms: the first is applied to the iterate.
        largest: rows of one forward pass at most; fixed, because another size may round differently.
    """

    transforms: tuple[Transform, ...] = ()
    largest: int = 512

    def mean_gradient(self, loss: PointLoss, attempt: Attempt, x: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient of each point's loss, averaged over its copies.

        Args:
            loss: (logits, goal) -> `[shown]`.
            attempt: the run.
            x: `[chosen channel height width]`.
            rows: `[chosen]`, which points of the batch they are.

        Returns:
            `[chosen channel height width]`.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            shown = self._shown(attempt, x, rows)
            times = len(shown) // len(x)
            parts = zip(shown.detach().split(self.largest), rows.repeat(times).split(self.largest), strict=True)
            upstream = [_gradient(loss, attempt.model, part, attempt.goal[index]) for part, index in parts]
            gradient: Tensor = torch.autograd.grad(shown, x, torch.cat(upstream) / times)[0]
        return gradient

    def _shown(self, attempt: Attempt, x: Tensor, rows: Tensor) -> Tensor:
        low = attempt.model.bounds[0]
        images, origin = x - low, attempt.origin - low
        for transform in self.transforms:
            images = transform(images, Others(origin, rows.repeat(len(images) // len(rows))))
        shown: Tensor = images + low
        return shown


def _gradient(loss: PointLoss, model: Callable[[Tensor], Tensor], shown: Tensor, goal: Goal) -> Tensor:
    shown = shown.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(model(shown), goal).sum(), shown)
    return gradient
