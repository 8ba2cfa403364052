r"""Gradient descent, and the exact amount by which it leaves the level set of a conserved quantity.

Every step moves a quadratic quantity by a known amount: with step eta and weight decay lambda, for any mini-batch,

.. math:: Q' = (1 - \eta\lambda)^2 Q + \eta^2 Q(\nabla L),

because <theta, M grad L> = 0. At a fixed time eta x steps the drift is therefore proportional to eta. Derived here;
docs/mathematics.md, section 12.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ensemble.flow.dynamics import Trajectory
from ensemble.flow.orthogonality import Function, Parameters, loss_gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """Settings of gradient descent, in PyTorch's own convention (`torch.optim.SGD`).

    Attributes:
        rate: step size eta, or one per run `[runs]` for parameters with a leading axis of runs.
        steps: how many.
        momentum: factor of the velocity.
        weight_decay: lambda, added to the gradient as lambda x parameter.
        record_every: steps between recorded points; the first and the last are always recorded.
    """

    rate: float | Tensor
    steps: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    record_every: int = 1


def gradient_descent(loss: Function, parameters: Parameters, quantity: Function, descent: Descent) -> Trajectory:
    """Return the path of gradient descent, in the parameters' own dtype.

    Many runs are one program: give the parameters a leading axis of runs and let the loss return `[runs]`.

    Args:
        loss: named parameters -> scalar or `[runs]`.
        parameters: where it starts; not changed.
        quantity: named parameters -> values that are recorded.
        descent: the settings.
    """
    here = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    moving = {name: torch.zeros_like(tensor) for name, tensor in here.items()}
    predicted = quantity(here)
    kept: list[tuple[int, Tensor, Tensor, Tensor]] = []
    for step in range(descent.steps + 1):
        if step % descent.record_every == 0 or step == descent.steps:
            with torch.no_grad():
                kept.append((step, loss(here), quantity(here), predicted))
        if step == descent.steps:
            break
        gradient = loss_gradient(loss, here)
        with torch.no_grad():
            predicted = drift_identity(predicted, quantity(gradient), descent.rate, descent.weight_decay)
            for name, tensor in here.items():
                moving[name] = descent.momentum * moving[name] + gradient[name] + descent.weight_decay * tensor
                here[name] = tensor - _broadcast(descent.rate, tensor) * moving[name]
    rate = torch.as_tensor(descent.rate, dtype=torch.float64)
    times = torch.stack([rate * row[0] for row in kept])
    losses, quantities, expected = (
        torch.stack(values) for values in list(zip(*(row[1:] for row in kept), strict=True))
    )
    return Trajectory(times, losses, quantities, expected, here)


def drift_identity(before: Tensor, of_gradient: Tensor, rate: float | Tensor, weight_decay: float = 0.0) -> Tensor:
    """Return a quadratic quantity after one step of gradient descent: (1 - eta lambda)^2 Q + eta^2 Q(grad L).

    Args:
        before: Q of the parameters.
        of_gradient: the same quadratic form of the gradient.
        rate: eta, a number or one per run on the first axis.
        weight_decay: lambda.
    """
    eta = _broadcast(rate, before)
    shrunk: Tensor = (1 - eta * weight_decay) ** 2 * before + eta**2 * of_gradient
    return shrunk


def drift_slope(rates: Sequence[float], drifts: Sequence[float]) -> float:
    """Return the slope of log drift against log step size by least squares: 1 where gradient flow is the limit."""
    slope, _ = np.polyfit(np.log(np.asarray(rates)), np.log(np.asarray(drifts)), 1)
    return float(slope)


def _broadcast(rate: float | Tensor, like: Tensor) -> float | Tensor:
    if not isinstance(rate, Tensor) or rate.ndim == 0:
        return rate
    return rate.to(like).reshape(-1, *[1] * (like.ndim - 1))
