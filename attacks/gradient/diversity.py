"""Input diversity (DI; Xie et al., 2019): images resized at random and put back into their frame."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.gradient.copies import Others
from attacks.gradient.keeping import KeepRule
from attacks.gradient.momentum import MomentumDescent, mi


@dataclass(frozen=True, slots=True)
class Diversity:
    """Resize by a random factor, then pad with black or crop back at a random place: one draw per image.

    The map is linear and separable: two matrices of bilinear weights per image. So it has the same gradient on every
    run and device, which interpolation on a GPU has not.

    Attributes:
        probability: of transforming an image at all.
        spread: the largest relative change of size, up or down: 0.125 is 28 to 36 pixels of 32.
    """

    probability: float = 0.5
    spread: float = 0.125

    def __call__(self, images: Tensor, others: Others) -> Tensor:
        """Return one copy of each image, `[shown channel height width]`.

        Args:
            images: `[shown channel height width]`.
            others: not used.
        """
        height, width = images.shape[-2:]
        draws = torch.rand(4, len(images), device=images.device)
        reach = round(self.spread * height)
        size = height - reach + (draws[1] * (2 * reach + 1)).floor()
        rows = _resized(height, size, _offset(height - size, draws[2]))
        size = (size * (width / height)).round()
        columns = _resized(width, size, _offset(width - size, draws[3]))
        resized = rows[:, None] @ images @ columns[:, None].mT
        return torch.where((draws[0] < self.probability)[:, None, None, None], resized, images)


def _offset(room: Tensor, place: Tensor) -> Tensor:
    """Return a place between none and all of the room, equally often; overhang to crop is negative room."""
    return torch.where(room < 0, -(place * (1 - room)).floor(), (place * (1 + room)).floor())


def _resized(length: int, size: Tensor, offset: Tensor) -> Tensor:
    """Return `[shown length length]`: bilinear interpolation to `size` pixels, put at `offset` in the frame."""
    pixel = torch.arange(length, device=size.device)
    target = pixel - offset[:, None]
    source = ((target + 0.5) * (length / size)[:, None] - 0.5).clamp(0, length - 1)
    weights = (1 - (source[:, :, None] - pixel).abs()).clamp_min(0)
    inside = (target >= 0) & (target < size[:, None])
    return weights * inside[:, :, None]


def mi_di(
    norm: str, *, keep: KeepRule, probability: float = 0.5, spread: float = 0.125, **parameters: Any
) -> MomentumDescent:
    """Return MI with input diversity (Xie et al., 2019) for a norm.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        probability: of transforming an image.
        spread: the largest relative change of size.
        parameters: of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return mi(norm, keep=keep, transforms=(Diversity(probability, spread),), **parameters)
