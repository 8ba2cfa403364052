"""Gradients accumulated over the steps: MI (Dong et al., 2018) and, looking ahead, NI (Lin et al., 2020).

foolbox's own momentum accumulates gradients that were already reduced to their signs; here each gradient is divided by
its mean absolute value *before* it is accumulated, as published (the L1 norm up to the constant number of features).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from foolbox.attacks.gradient_descent_base import (
    L1BaseGradientDescent,
    L2BaseGradientDescent,
    LinfBaseGradientDescent,
)
from foolbox.distances import LpDistance
from torch import Tensor

from attacks.gradient.copies import Copies, Transform
from attacks.gradient.descent import Attempt, KeepBestGradientDescent, KeepRule
from attacks.gradient.smoothing import Smoothing
from attacks.norm_table import row_of_norm


class MomentumDescent(KeepBestGradientDescent):
    """Gradient descent along accumulated gradients, taken over transformed copies where some are named.

    With copies or a look ahead the gradient is not the iterate's own; its logits then cost one more forward pass.

    Args:
        decay: mu, the share of the accumulated gradient that is kept at each step; 0 forgets it.
        lookahead: how many steps of the accumulated gradient ahead the gradient is taken: 0 is MI, 1 is NI.
        transforms: what the model is shown instead of the iterate; the gradient is the mean over all copies.
        smoothing: of the gradient, before it is accumulated; None leaves it.
        parameters: of `KeepBestGradientDescent`.
    """

    distance: LpDistance

    def __init__(
        self,
        *,
        decay: float = 1.0,
        lookahead: float = 0.0,
        transforms: Sequence[Transform] = (),
        smoothing: Smoothing | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__(**parameters)
        self.decay = decay
        self.lookahead = lookahead
        self.copies = Copies(tuple(transforms))
        self.smoothing = smoothing

    def value_and_grad(self, attempt: Attempt, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the iterates, and the smoothed mean gradient over copies of the points ahead.

        Args:
            attempt: the run.
            x: `[chosen ...]`.
            rows: `[chosen]`.

        Returns:
            Logits `[chosen classes]` and gradient `[chosen ...]`.
        """
        if self.lookahead == 0 and not self.copies.transforms:
            logits, gradient = super().value_and_grad(attempt, x, rows)
            return logits, self._smoothed(gradient)
        with torch.no_grad():
            logits = attempt.model(x)
        return logits, self.gradient_at(attempt, self._ahead(attempt, x, rows), rows)

    def gradient_at(self, attempt: Attempt, x: Tensor, rows: Tensor) -> Tensor:
        """Return the smoothed mean gradient over copies of some points, `[chosen ...]`.

        Args:
            attempt: the run.
            x: `[chosen ...]`, any points near the batch.
            rows: `[chosen]`, which points of the batch they belong to.
        """
        return self._smoothed(self.copies.mean_gradient(self.loss, attempt, x, rows))

    def direction(self, attempt: Attempt, gradient: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return the step along the accumulated gradients: signs in Linf, unit length in L2 and L1.

        Args:
            attempt: the run, whose memory "momentum" is updated.
            gradient: `[chosen ...]`.
            x: `[chosen ...]`.
            rows: `[chosen]`.

        Returns:
            `[chosen ...]`.
        """
        momentum = self.decay * attempt.recall("momentum", rows) + _mean_normalised(gradient)
        attempt.remember("momentum", rows, momentum)
        return super().direction(attempt, momentum, x, rows)

    def _smoothed(self, gradient: Tensor) -> Tensor:
        return gradient if self.smoothing is None else self.smoothing(gradient)

    def _ahead(self, attempt: Attempt, x: Tensor, rows: Tensor) -> Tensor:
        # A vector of d values of mean size one is about d^(1/p) long: divided by it, the look ahead is as long as the
        # steps are in every norm. In Linf this is the published x + alpha mu g.
        unit = x[0].numel() ** (1 / self.distance.p)
        stepsize = self.lookahead * self.rel_stepsize * attempt.epsilon
        ahead: Tensor = x + stepsize * self.decay / unit * attempt.recall("momentum", rows)
        return ahead


def _mean_normalised(gradient: Tensor) -> Tensor:
    size = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / size[(..., *[None] * (gradient.ndim - 1))]


class LinfMomentum(MomentumDescent, LinfBaseGradientDescent):  # type: ignore[misc]
    """Steps along the signs of the accumulated gradients: as published."""


class L2Momentum(MomentumDescent, L2BaseGradientDescent):  # type: ignore[misc]
    """Steps of unit L2 length along the accumulated gradients."""


class L1Momentum(MomentumDescent, L1BaseGradientDescent):  # type: ignore[misc]
    """Steps of unit L1 length along the accumulated gradients; supports no claim without an L1-specific step."""


#: One row per norm.
BY_NORM: Mapping[str, type[MomentumDescent]] = MappingProxyType(
    {"linf": LinfMomentum, "l2": L2Momentum, "l1": L1Momentum}
)


def mi(
    norm: str,
    *,
    keep: KeepRule,
    steps: int,
    rel_stepsize: float,
    random_start: bool = False,
    decay: float = 1.0,
    lookahead: float = 0.0,
    transforms: Sequence[Transform] = (),
    smoothing: Smoothing | None = None,
) -> MomentumDescent:
    """Return the momentum iterative attack (Dong et al., 2018, algorithm 1) for a norm.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        steps: gradient steps T.
        rel_stepsize: the step as a share of epsilon; published as 1/T.
        random_start: start at a random point of the ball; published without.
        decay: mu; published as 1.0.
        lookahead: 0 for MI, 1 for NI.
        transforms: copies the model is shown instead of the iterate.
        smoothing: of the gradient.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return row_of_norm(BY_NORM, "the momentum attacks", norm)(
        steps=steps,
        rel_stepsize=rel_stepsize,
        random_start=random_start,
        keep=keep,
        decay=decay,
        lookahead=lookahead,
        transforms=transforms,
        smoothing=smoothing,
    )


def ni(norm: str, *, keep: KeepRule, **parameters: Any) -> MomentumDescent:
    """Return the Nesterov iterative attack (Lin et al., 2020, equations 6 to 8): MI that looks one step ahead.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        parameters: of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return mi(norm, keep=keep, lookahead=1.0, **parameters)
