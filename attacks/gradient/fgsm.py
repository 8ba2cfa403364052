"""The fast gradient (sign) method: one step of length epsilon, from foolbox."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from foolbox.attacks import L1FastGradientAttack, L2FastGradientAttack, LinfFastGradientAttack

from attacks.norm_table import row_of_norm

#: One row per norm.
BY_NORM: Mapping[str, Any] = MappingProxyType(
    {"linf": LinfFastGradientAttack, "l2": L2FastGradientAttack, "l1": L1FastGradientAttack}
)


def fgsm(norm: str) -> Any:
    """Return the single-step gradient attack of Goodfellow et al. (2015) for a norm.

    Args:
        norm: "linf" (sign of the gradient) or "l2" or "l1" (its direction).

    Returns:
        A foolbox attack without a random start.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return row_of_norm(BY_NORM, "FGSM", norm)(random_start=False)
