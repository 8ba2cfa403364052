"""Variance tuning (VMI; Wang & He, 2021): each gradient corrected by what its neighbourhood said a step before."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.gradient_descent_base import (
    L1BaseGradientDescent,
    L2BaseGradientDescent,
    LinfBaseGradientDescent,
)
from torch import Tensor

from attacks.gradient.descent import Attempt
from attacks.gradient.keeping import KeepRule
from attacks.gradient.momentum import MomentumDescent
from attacks.norm_table import row_of_norm


class VarianceDescent(MomentumDescent):
    """Momentum over g(x_t) + v_t, where v_{t+1} is the mean gradient of random neighbours of x_t minus g(x_t).

    Args:
        neighbours: N, gradients taken around each iterate.
        reach: beta, the radius they are drawn from as a multiple of epsilon, in the attack's own norm.
        parameters: of `MomentumDescent`.
    """

    def __init__(self, *, neighbours: int = 20, reach: float = 1.5, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.neighbours = neighbours
        self.reach = reach

    def value_and_grad(self, attempt: Attempt, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the iterates and their gradient plus the variance remembered.

        Args:
            attempt: the run, whose memory "variance" is updated.
            x: `[chosen ...]`.
            rows: `[chosen]`.

        Returns:
            Logits `[chosen classes]` and gradient `[chosen ...]`.
        """
        logits, gradient = super().value_and_grad(attempt, x, rows)
        tuned = gradient + attempt.recall("variance", rows)
        attempt.remember("variance", rows, self._neighbourhood(attempt, x, rows) - gradient)
        return logits, tuned

    def _neighbourhood(self, attempt: Attempt, x: Tensor, rows: Tensor) -> Tensor:
        """Return the mean gradient of neighbours, which as published may lie outside the box."""
        centre, radius, total = ep.astensor(x), self.reach * attempt.epsilon, torch.zeros_like(x)
        for _ in range(self.neighbours):
            total += self.gradient_at(attempt, self.get_random_start(centre, radius).raw, rows)
        return total / self.neighbours


class LinfVariance(VarianceDescent, LinfBaseGradientDescent):  # type: ignore[misc]
    """Neighbours in a cube, steps along signs: as published."""


class L2Variance(VarianceDescent, L2BaseGradientDescent):  # type: ignore[misc]
    """Neighbours in an L2 ball, steps of unit L2 length."""


class L1Variance(VarianceDescent, L1BaseGradientDescent):  # type: ignore[misc]
    """Neighbours in an L1 ball, steps of unit L1 length."""


#: One row per norm.
BY_NORM: Mapping[str, type[VarianceDescent]] = MappingProxyType(
    {"linf": LinfVariance, "l2": L2Variance, "l1": L1Variance}
)


def vmi(
    norm: str,
    *,
    keep: KeepRule,
    steps: int,
    rel_stepsize: float,
    random_start: bool = False,
    neighbours: int = 20,
    reach: float = 1.5,
    **parameters: Any,
) -> VarianceDescent:
    """Return variance-tuned MI (Wang & He, 2021, algorithm 1) for a norm: 1 + `neighbours` gradients per step.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        steps: gradient steps T.
        rel_stepsize: the step as a share of epsilon; published as 1/T.
        random_start: start at a random point of the ball; published without.
        neighbours: N; published as 20.
        reach: beta; published as 1.5.
        parameters: decay, lookahead, transforms and smoothing of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return row_of_norm(BY_NORM, "the variance-tuned attack", norm)(
        keep=keep,
        steps=steps,
        rel_stepsize=rel_stepsize,
        random_start=random_start,
        neighbours=neighbours,
        reach=reach,
        **parameters,
    )
