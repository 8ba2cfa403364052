"""The boundary attack of Brendel et al. (2018), foolbox's, inside the fence of `DecisionAttack`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from foolbox.attacks import BoundaryAttack

from attacks.norm_table import row_of_norm
from attacks.query.decision import DecisionAttack

#: One row per norm; the random walk keeps to L2 spheres, so there is no other.
BY_NORM: Mapping[str, Any] = MappingProxyType({"l2": BoundaryAttack})


def boundary(norm: str, *, steps: int = 1000, queries: int = 20_000, starts: int = 50, seed: int = 0) -> DecisionAttack:
    """Return the boundary attack for a norm.

    Args:
        norm: "l2".
        steps: of the random walk of one point.
        queries: budget of one point.
        starts: uniform noise images tried as a start.
        seed: of the random numbers.

    Returns:
        A foolbox minimisation attack; called with epsilons it judges by distance.

    Raises:
        UnknownName: another norm.
    """
    attack = row_of_norm(BY_NORM, "the boundary attack", norm)(steps=steps)
    return DecisionAttack(attack, queries=queries, starts=starts, seed=seed)
