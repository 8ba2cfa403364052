"""The ball of a norm, as an iterative attack sees it: a direction of ascent, a projection, and a random point."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from foolbox.distances import l2, linf
from torch import Tensor

#: Below this a gradient has no direction: the point stays where it is.
FLAT = 1e-12


@dataclass(frozen=True, slots=True)
class Ball:
    """One norm.

    Attributes:
        distance: foolbox's distance of the norm.
        direction: gradient `[batch ...]` -> step of unit length.
        shrink: (perturbation, epsilon) -> the nearest perturbation of at most that length.
        draw: (inputs, epsilon) -> a random perturbation of at most that length.
    """

    distance: Any
    direction: Callable[[Tensor], Tensor]
    shrink: Callable[[Tensor, float], Tensor]
    draw: Callable[[Tensor, float], Tensor]

    def project(self, x: Tensor, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
        """Return x moved into the ball and then into the box, which cannot leave the ball again.

        Args:
            x: `[batch ...]`.
            origin: the centres, inside the box.
            epsilon: the radius.
            bounds: (low, high) of the box.
        """
        return (origin + self.shrink(x - origin, epsilon)).clamp(*bounds)

    def start(self, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
        """Return a random point of the ball, inside the box, from torch's CPU generator on every device.

        Args:
            origin: `[batch ...]`.
            epsilon: the radius.
            bounds: (low, high) of the box.
        """
        return (origin + self.draw(origin, epsilon)).clamp(*bounds)


def per_point(values: Tensor, like: Tensor) -> Tensor:
    """Return `[batch]` values shaped to multiply `[batch ...]`.

    Args:
        values: one per point.
        like: gives the number of dimensions.
    """
    return values.view(-1, *[1] * (like.ndim - 1))


def lengths(x: Tensor) -> Tensor:
    """Return the L2 length of each point, shaped to divide `[batch ...]`.

    Args:
        x: `[batch ...]`.
    """
    return per_point(x.flatten(1).norm(dim=1), x)


def _draw_cube(origin: Tensor, epsilon: float) -> Tensor:
    return (torch.rand(origin.shape) * 2 - 1).to(origin) * epsilon


def _draw_sphere(origin: Tensor, epsilon: float) -> Tensor:
    noise = torch.randn(origin.shape).to(origin)
    return noise / lengths(noise).clamp_min(FLAT) * epsilon


#: One row per norm. In many dimensions nearly all of an L2 ball lies at its surface, hence the sphere.
BALLS: Mapping[str, Ball] = MappingProxyType(
    {
        "linf": Ball(linf, torch.sign, lambda delta, epsilon: delta.clamp(-epsilon, epsilon), _draw_cube),
        "l2": Ball(
            l2,
            lambda gradient: gradient / lengths(gradient).clamp_min(FLAT),
            lambda delta, epsilon: delta * (epsilon / lengths(delta).clamp_min(FLAT)).clamp_max(1),
            _draw_sphere,
        ),
    }
)
