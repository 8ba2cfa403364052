"""Scale invariance (SI; Lin et al., 2020): copies of each image at falling brightness, and its combination."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.gradient.copies import Others
from attacks.gradient.diversity import Diversity
from attacks.gradient.keeping import KeepRule
from attacks.gradient.momentum import MomentumDescent, mi
from attacks.gradient.smoothing import Smoothing


@dataclass(frozen=True, slots=True)
class Scales:
    """The image divided by 1, 2, 4, .., measured from the lower bound of the box.

    Attributes:
        scales: how many copies.
    """

    scales: int = 5

    def __call__(self, images: Tensor, others: Others) -> Tensor:
        """Return the copies, `[scales * shown channel height width]`, the brightest first.

        Args:
            images: `[shown channel height width]`.
            others: not used.
        """
        return torch.cat([images / 2**scale for scale in range(self.scales)])


def mi_di_ti_si(
    norm: str,
    *,
    keep: KeepRule,
    probability: float = 0.5,
    spread: float = 0.125,
    size: int = 3,
    sigma: float = 1 / 3,
    scales: int = 5,
    **parameters: Any,
) -> MomentumDescent:
    """Return MI over scaled and randomly resized copies, its gradient smoothed, for a norm.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        probability: of resizing a copy (DI).
        spread: the largest relative change of size (DI).
        size: of the smoothing kernel in pixels (TI).
        sigma: of the smoothing kernel in pixels (TI).
        scales: copies per step (SI).
        parameters: of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    transforms = (Scales(scales), Diversity(probability, spread))
    return mi(norm, keep=keep, transforms=transforms, smoothing=Smoothing(size, sigma), **parameters)
