"""Noise of a given size: the attacks that use no gradient and no model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks import (
    L2ClippingAwareAdditiveGaussianNoiseAttack,
    L2ClippingAwareAdditiveUniformNoiseAttack,
    LinfAdditiveUniformNoiseAttack,
)
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from foolbox.distances import l1
from torch import Tensor

from attacks.norm_table import row_of_norm


class L1ClippingAwareAdditiveNoiseAttack(FixedEpsilonAttack):  # type: ignore[misc]
    """Noise in a direction uniform on the L1 sphere, as large after clipping to the box as epsilon allows."""

    distance = l1

    def run(self, model: Any, inputs: Any, criterion: Any = None, *, epsilon: float, **kwargs: Any) -> Any:
        """Return one draw.

        Args:
            model: only its bounds are read.
            inputs: `[batch ...]`, inside the bounds.
            criterion: not used.
            epsilon: the L1 size.
            kwargs: nothing else is accepted.

        Returns:
            Perturbed inputs, same type and shape as `inputs`.
        """
        raise_if_kwargs(kwargs)
        wrapped, restore = ep.astensor_(inputs)
        verify_input_bounds(wrapped, model)
        x = wrapped.raw
        # Exponential sizes with random signs, divided by their sum, are uniform on the sphere.
        sizes = torch.empty_like(x).exponential_().flatten(1)
        signs = torch.where(torch.rand_like(sizes) < 0.5, -1.0, 1.0)
        low, high = model.bounds
        room = torch.where(signs > 0, high - x.flatten(1), x.flatten(1) - low)
        moved = x + (signs * torch.minimum(_scale(sizes, room, epsilon) * sizes, room)).reshape(x.shape)
        return restore(ep.astensor(moved.clamp(low, high)))


def _scale(sizes: Tensor, room: Tensor, epsilon: float) -> Tensor:
    """Return s with sum_i min(s sizes_i, room_i) = epsilon, `[batch 1]`; the largest useful one where none reaches it.

    The sum is piecewise linear in s and bends where s sizes_i = room_i. Sorted by those places, it equals
    (room before) + s (sizes after) between two of them (derived here; Rauber & Bethge, 2020, treat L2 so).
    """
    bends, order = (room / sizes).sort(dim=1)
    sizes, room = sizes.gather(1, order).double(), room.gather(1, order).double()
    room_before = room.cumsum(1) - room
    sizes_after = sizes.flip(1).cumsum(1).flip(1)
    reached = room_before + bends * sizes_after
    place = (reached < epsilon).sum(1, keepdim=True).clamp_max(sizes.shape[1] - 1)
    scale = (epsilon - room_before.gather(1, place)) / sizes_after.gather(1, place)
    return scale.to(bends.dtype)


#: One row per norm. The L2 and L1 rows fill the ball also after clipping to the box.
BY_NORM: Mapping[str, Any] = MappingProxyType(
    {
        "linf": LinfAdditiveUniformNoiseAttack,
        "l2": L2ClippingAwareAdditiveUniformNoiseAttack,
        "l1": L1ClippingAwareAdditiveNoiseAttack,
    }
)
#: Gaussian noise has a size of its own in L2 only.
GAUSSIAN_BY_NORM: Mapping[str, Any] = MappingProxyType({"l2": L2ClippingAwareAdditiveGaussianNoiseAttack})


def uniform_noise(norm: str) -> Any:
    """Return uniform noise for a norm; one call is one draw.

    Args:
        norm: "linf", "l2" or "l1".

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return row_of_norm(BY_NORM, "uniform noise", norm)()


def gaussian_noise(norm: str) -> Any:
    """Return foolbox's Gaussian noise of fixed size; one call is one draw.

    Args:
        norm: "l2".

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    return row_of_norm(GAUSSIAN_BY_NORM, "Gaussian noise", norm)()
