"""Admix (Wang et al., 2021): each image with a little of other images mixed in, at falling brightness."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.gradient.copies import Others
from attacks.gradient.keeping import KeepRule
from attacks.gradient.momentum import MomentumDescent, mi
from attacks.gradient.scales import Scales


@dataclass(frozen=True, slots=True)
class Mixing:
    """Copies x + weight x', each with another unperturbed image x' of the batch, drawn anew.

    The paper draws x' from other categories; the batch stands for them here, and only the image itself is excluded. A
    batch of one image has no other: it is mixed with itself.

    Attributes:
        images: copies, each with its own x'.
        weight: of x'.
    """

    images: int = 3
    weight: float = 0.2

    def __call__(self, images: Tensor, others: Others) -> Tensor:
        """Return the copies, `[images * shown channel height width]`.

        Args:
            images: `[shown channel height width]`.
            others: the batch that x' is drawn from.
        """
        rows = others.rows.repeat(self.images)
        shift = torch.randint(1, max(len(others.images), 2), (len(rows),), device=rows.device)
        drawn = others.images[(rows + shift) % len(others.images)]
        return images.repeat(self.images, 1, 1, 1) + self.weight * drawn


def admix(
    norm: str, *, keep: KeepRule, images: int = 3, weight: float = 0.2, scales: int = 5, **parameters: Any
) -> MomentumDescent:
    """Return Admix (Wang et al., 2021, algorithm 1) for a norm: `images * scales` copies per step.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        images: other images mixed in, one per copy.
        weight: of the image mixed in.
        scales: brightness levels of each mixture.
        parameters: of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return mi(norm, keep=keep, transforms=(Mixing(images, weight), Scales(scales)), **parameters)
