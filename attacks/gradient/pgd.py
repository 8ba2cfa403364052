"""Projected gradient descent (Madry et al., 2018), keeping the best iterate, one class per norm."""

from collections.abc import Mapping
from types import MappingProxyType

from foolbox.attacks.gradient_descent_base import (
    L1BaseGradientDescent,
    L2BaseGradientDescent,
    LinfBaseGradientDescent,
)

from attacks.gradient.descent import KeepBestGradientDescent, KeepRule
from attacks.norm_table import row_of_norm


class LinfProjectedGradientDescent(KeepBestGradientDescent, LinfBaseGradientDescent):  # type: ignore[misc]
    """Signed steps inside the Linf ball."""


class L2ProjectedGradientDescent(KeepBestGradientDescent, L2BaseGradientDescent):  # type: ignore[misc]
    """Steps along the L2-normalised gradient inside the L2 ball."""


class L1ProjectedGradientDescent(KeepBestGradientDescent, L1BaseGradientDescent):  # type: ignore[misc]
    """Steps along the L1-normalised gradient inside the L1 ball; supports no claim without an L1-specific step."""


#: One row per norm.
BY_NORM: Mapping[str, type[KeepBestGradientDescent]] = MappingProxyType(
    {"linf": LinfProjectedGradientDescent, "l2": L2ProjectedGradientDescent, "l1": L1ProjectedGradientDescent}
)


def pgd(norm: str, *, steps: int, rel_stepsize: float, random_start: bool, keep: KeepRule) -> KeepBestGradientDescent:
    """Return projected gradient descent for a norm.

    Args:
        norm: "linf", "l2" or "l1".
        steps: gradient steps.
        rel_stepsize: the step as a share of epsilon.
        random_start: start at a random point of the ball.
        keep: which iterate is returned.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return row_of_norm(BY_NORM, "projected gradient descent", norm)(
        steps=steps, rel_stepsize=rel_stepsize, random_start=random_start, keep=keep
    )
