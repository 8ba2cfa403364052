r"""Hidden layers of the paper's two-layer networks F = U sigma(V): value, pull-back, conserved quantity and its drift.

One row per activation, each with the closed forms that a batched run needs in place of autograd. Inputs are X = 1, so
the pre-activations are V itself. The sign is upper minus lower, the factor ½ is kept for every row
(docs/mathematics.md); what the official code prints instead is `published`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.activations import SIGMOID, TANH, Activation


class HiddenLayer(ABC):
    r"""A nonlinearity on `V` `[run hidden inp]`, with buffers given by the caller so that a step allocates nothing.

    .. math:: Q = \tfrac{\alpha}{2} \lVert U \rVert^2 - \sum \int_0^V \sigma/\sigma'

    with `alpha` the factor `upper`. A step d = (dU, dV) of gradient descent changes Q by ½<d, Q'' d> to second order:
    ½(alpha ‖dU‖² − Σ (sigma/sigma')' dV²), exactly for quadratic Q (derived here).
    """

    name: str
    upper: float = 1.0
    #: The official code's value is `published_scale` Q + `published_offset` n h.
    published_scale: float = 2.0
    published_offset: float = 0.0

    @abstractmethod
    def forward(self, V: Tensor, out: Tensor) -> None:
        """Write sigma(V) into `out` `[run hidden inp]`."""

    @abstractmethod
    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Turn a gradient at sigma(V) into one at V, in place; `S` holds sigma(V) and may be overwritten."""

    def integral(self, V: Tensor) -> Tensor:
        """Return ∫₀^V sigma/sigma', entry by entry; V²/2 for layers of degree ±1."""
        return V.square() / 2

    def weigh(self, V: Tensor, out: Tensor) -> None:  # noqa: B027 - nothing to do where the weight is 1
        """Write (sigma/sigma')' at V into `out`, which holds ones."""

    def quantity(self, U: Tensor, V: Tensor) -> Tensor:
        """Return Q `[run]` of `U` `[run out hidden]` and `V` `[run hidden inp]`."""
        return self.upper * U.square().sum((-2, -1)) / 2 - self.integral(V).sum((-2, -1))

    def published(self, Q: Tensor, entries: int) -> Tensor:
        """Return what the official code calls Q, for `entries` = n h lower weights."""
        return self.published_scale * Q + self.published_offset * entries


class Linear(HiddenLayer):
    """sigma(z) = z."""

    name = "linear"

    def forward(self, V: Tensor, out: Tensor) -> None:
        """Copy."""
        out.copy_(V)

    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Do nothing: the derivative is 1."""


class Relu(HiddenLayer):
    """sigma(z) = max(z, 0); where z < 0 the integrand is 0/0 and counts as 0 and V never moves."""

    name = "ReLU"

    def forward(self, V: Tensor, out: Tensor) -> None:
        """Clip."""
        torch.clamp_min(V, 0, out=out)

    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Keep the gradient of the active units."""
        G.mul_(S.sign_())

    def integral(self, V: Tensor) -> Tensor:
        """Return max(V, 0)²/2."""
        return V.clamp_min(0).square() / 2


class Tanh(HiddenLayer):
    """sigma = tanh."""

    name = "tanh"
    published_offset = -1.0

    def forward(self, V: Tensor, out: Tensor) -> None:
        """Apply tanh."""
        torch.tanh(V, out=out)

    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Multiply by 1 − S²."""
        G.addcmul_(G, S.square_(), value=-1)

    def integral(self, V: Tensor) -> Tensor:
        """Return sinh²(V)/2."""
        return _stored(TANH, V)

    def weigh(self, V: Tensor, out: Tensor) -> None:
        """Write cosh(2V)."""
        torch.cosh(2 * V, out=out)


class Sigmoid(HiddenLayer):
    """sigma = logistic function."""

    name = "sigmoid"
    published_scale = 1.0
    published_offset = -1.0

    def forward(self, V: Tensor, out: Tensor) -> None:
        """Apply the logistic function."""
        torch.sigmoid(V, out=out)

    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Multiply by S − S²."""
        G.mul_(S.addcmul_(S, S, value=-1))

    def integral(self, V: Tensor) -> Tensor:
        """Return V + eⱽ − 1."""
        return _stored(SIGMOID, V)

    def weigh(self, V: Tensor, out: Tensor) -> None:
        """Write eⱽ."""
        torch.exp(V, out=out)


@dataclass(frozen=True, eq=False)
class Radial(HiddenLayer):
    """z -> z/‖z‖² with z = V X, of degree −1, on vectors along one axis: Q = −½(‖U‖² + ‖V‖²).

    Attributes:
        axis: −2 normalises each hidden vector; −1 normalises across samples, as the official code does.
        inputs: X `[inp inp]`, as many samples as inputs; None for X = 1.
    """

    axis: int
    inputs: Tensor | None = None
    name = "radial"
    upper = -1.0

    def forward(self, V: Tensor, out: Tensor) -> None:
        """Divide by the squared norm."""
        Z = self._pre_activations(V)
        torch.div(Z, Z.square().sum(self.axis, keepdim=True), out=out)

    def pull_back(self, V: Tensor, S: Tensor, G: Tensor) -> None:
        """Return (G − 2 S <Z, G>)/‖Z‖², times Xᵀ."""
        Z = self._pre_activations(V)
        inner = (Z * G).sum(self.axis, keepdim=True)
        G.addcmul_(S, inner, value=-2).div_(Z.square().sum(self.axis, keepdim=True))
        if self.inputs is not None:
            G.copy_(G @ self.inputs.T)

    def _pre_activations(self, V: Tensor) -> Tensor:
        return V if self.inputs is None else V @ self.inputs


ELEMENTWISE: tuple[HiddenLayer, ...] = (Linear(), Relu(), Tanh(), Sigmoid())


def _stored(row: Activation, V: Tensor) -> Tensor:
    assert row.antiderivative is not None
    return row.antiderivative(V)
