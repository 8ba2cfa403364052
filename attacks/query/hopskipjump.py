"""HopSkipJump of Chen et al. (2020), foolbox's, inside the fence of `DecisionAttack`."""

from collections.abc import Callable
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks import HopSkipJumpAttack

from attacks.norm_table import row_of_norm
from attacks.query.decision import DecisionAttack

#: How directions are drawn, one row per norm.
DIRECTIONS: dict[str, Callable[..., Any]] = {
    "linf": lambda like, shape: ep.uniform(like, low=-1, high=1, shape=shape),
    "l2": lambda like, shape: ep.normal(like, shape),
}


class OnePointHopSkipJump(HopSkipJumpAttack):  # type: ignore[misc]
    """foolbox's attack for batches of one point, which asks about all directions of a step in one pass."""

    def approximate_gradients(self, is_adversarial: Any, x_advs: Any, steps: int, delta: Any) -> Any:
        """Return the estimated direction, `[1 ...]`, of L2 length one: foolbox's formula for one point.

        Args:
            is_adversarial: the answer for a batch of any size.
            x_advs: `[1 ...]`, a point on the boundary.
            steps: directions asked about.
            delta: `[1]`, how far they reach.
        """
        noise = DIRECTIONS[self.constraint](x_advs, (steps, *x_advs.shape)).raw
        noise = noise / (noise.flatten(1).norm(dim=1).view(-1, *[1] * (noise.ndim - 1)) + 1e-12)
        asked = (x_advs.raw + delta.raw * noise).clamp(0, 1)
        moved = (asked - x_advs.raw) / (delta.raw + 1e-8)
        signs = torch.where(is_adversarial(ep.astensor(asked[:, 0])).raw, 1.0, -1.0)
        mean = signs.mean()
        centred = signs if abs(mean.item()) == 1 else signs - mean
        direction = (centred.view(-1, *[1] * (moved.ndim - 1)) * moved).mean(dim=0)
        return ep.astensor(direction / (direction.norm() + 1e-12))


def hopskipjump(
    norm: str, *, steps: int = 20, queries: int = 20_000, starts: int = 50, seed: int = 0
) -> DecisionAttack:
    """Return HopSkipJump for a norm.

    Args:
        norm: "linf" or "l2".
        steps: gradient estimates of one point.
        queries: budget of one point.
        starts: uniform noise images tried as a start.
        seed: of the random numbers.

    Returns:
        A foolbox minimisation attack; called with epsilons it judges by distance.

    Raises:
        UnknownName: another norm.
    """
    row_of_norm(DIRECTIONS, "HopSkipJump", norm)
    return DecisionAttack(OnePointHopSkipJump(steps=steps, constraint=norm), queries=queries, starts=starts, seed=seed)
