"""Uniform noise of a given size: the attack that uses no gradient and no model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from foolbox.attacks import L2ClippingAwareAdditiveUniformNoiseAttack, LinfAdditiveUniformNoiseAttack

#: One row per norm. The L2 row fills the ball also after clipping to the box.
BY_NORM: Mapping[str, Any] = MappingProxyType(
    {"linf": LinfAdditiveUniformNoiseAttack, "l2": L2ClippingAwareAdditiveUniformNoiseAttack}
)


def uniform_noise(norm: str) -> Any:
    """Return foolbox's uniform noise for a norm; one call is one draw.

    Args:
        norm: "linf" or "l2".

    Returns:
        A foolbox attack.
    """
    return BY_NORM[norm]()
