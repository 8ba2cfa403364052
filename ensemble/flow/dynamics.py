"""Trajectories of loss and conserved quantities along gradient flow, and along its second-order form with friction.

Both are integrated by an adaptive Runge-Kutta method in float64; docs/mathematics.md, section 12.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.errors import InputError
from ensemble.flow.orthogonality import Function, Parameters, loss_gradient

EVALUATIONS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Loss and a quantity along a path of parameters.

    Attributes:
        times: `[points]`; step size x steps for gradient descent.
        losses: `[points ...]`, the loss's own shape behind the first axis.
        quantities: `[points ...]`, the quantity's.
        predicted: `[points ...]`, what the quantity should be by the law: its start for a flow, `drift_identity` for
            gradient descent (exact for quadratic quantities without momentum).
        end: the last parameters.
    """

    times: Tensor
    losses: Tensor
    quantities: Tensor
    predicted: Tensor
    end: dict[str, Tensor]

    @property
    def drift(self) -> Tensor:
        """Return the largest |Q(t) - Q(0)| over the path, in the quantity's shape."""
        return (self.quantities - self.quantities[0]).abs().amax(0)


def gradient_flow(
    loss: Function,
    parameters: Parameters,
    quantity: Function,
    *,
    duration: float,
    points: int = 11,
    weight_decay: float = 0.0,
    tolerance: float = 1e-12,
) -> Trajectory:
    """Return the path of theta' = -grad L - lambda theta, integrated in float64.

    Args:
        loss: named parameters -> scalar.
        parameters: where it starts; converted to float64.
        quantity: named parameters -> values that are recorded.
        duration: length in time.
        points: recorded points, evenly spaced, both ends included.
        weight_decay: lambda; the law is then Q(t) = Q(0) exp(-2 lambda t) for quadratic quantities.
        tolerance: relative and absolute tolerance of the integrator.

    Raises:
        InputError: the integrator gave up: the flow is too stiff, or it diverges.
    """
    packing = _Packing.of(parameters)

    def velocity(_: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        here = packing.unpack(state)
        return -packing.pack(loss_gradient(loss, here)) - weight_decay * state

    times, states = _integrate(velocity, packing.pack(parameters), duration, points, tolerance)
    path = [packing.unpack(state) for state in states]
    quantities = _along(quantity, path)
    decay = torch.exp(-2 * weight_decay * times).to(quantities).reshape(-1, *[1] * (quantities.ndim - 1))
    return Trajectory(times, _along(loss, path), quantities, quantities[0] * decay, path[-1])


def momentum_flow(
    loss: Function,
    parameters: Parameters,
    observe: Callable[[Parameters, Parameters, float], Tensor],
    *,
    friction: float,
    duration: float,
    velocity: Parameters | None = None,
    points: int = 11,
    tolerance: float = 1e-12,
) -> Trajectory:
    """Return the path of theta'' + zeta theta' = -grad L, integrated in float64.

    Args:
        loss: named parameters -> scalar.
        parameters: where it starts.
        observe: (parameters, velocities, time) -> values that are recorded as the quantities.
        friction: zeta.
        duration: length in time.
        velocity: how it starts; at rest by default.
        points: recorded points.
        tolerance: of the integrator.

    Raises:
        InputError: the integrator gave up.
    """
    packing = _Packing.of(parameters)
    start = packing.pack(parameters)
    speed = np.zeros_like(start) if velocity is None else packing.pack(velocity)

    def change(_: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        place, moving = np.split(state, 2)
        force = -packing.pack(loss_gradient(loss, packing.unpack(place)))
        return np.concatenate([moving, force - friction * moving])

    times, states = _integrate(change, np.concatenate([start, speed]), duration, points, tolerance)
    path = [[packing.unpack(half) for half in np.split(state, 2)] for state in states]
    quantities = torch.stack(
        [observe(place, moving, float(time)) for (place, moving), time in zip(path, times, strict=True)]
    )
    places = [place for place, _ in path]
    return Trajectory(times, _along(loss, places), quantities, quantities[:1].expand_as(quantities), places[-1])


def _along(function: Function, path: Sequence[Parameters]) -> Tensor:
    with torch.no_grad():
        return torch.stack([function(place) for place in path])


@dataclass(frozen=True, slots=True)
class _Packing:
    """Named tensors as one float64 vector and back, on the device they came from."""

    shapes: Mapping[str, tuple[int, ...]]
    device: torch.device

    @classmethod
    def of(cls, parameters: Parameters) -> "_Packing":
        device = next(iter(parameters.values())).device
        return cls({name: tuple(tensor.shape) for name, tensor in parameters.items()}, device)

    def pack(self, parameters: Parameters) -> NDArray[np.float64]:
        flat = torch.cat([parameters[name].detach().double().reshape(-1).cpu() for name in self.shapes])
        return np.asarray(flat.numpy(), dtype=np.float64)

    def unpack(self, state: NDArray[np.float64]) -> dict[str, Tensor]:
        flat = torch.from_numpy(state.copy()).to(self.device)
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), flat.split(sizes), strict=True)
        }


def _integrate(
    velocity: Callable[[float, NDArray[np.float64]], NDArray[np.float64]],
    start: NDArray[np.float64],
    duration: float,
    points: int,
    tolerance: float,
) -> tuple[Tensor, NDArray[np.float64]]:
    from scipy.integrate import solve_ivp  # here, because it doubles the time that importing the package takes

    times = np.linspace(0.0, duration, points)
    count = 0

    def counted(time: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal count
        count += 1
        if count > EVALUATIONS:
            raise InputError(
                f"gradient flow over {duration:g}: expected at most {EVALUATIONS} gradients, got to {time:.3g}; the "
                "path slides along a kink of the activation, or is stiff: shorten it, or loosen the tolerance"
            )
        return velocity(time, state)

    found = solve_ivp(
        counted, (0.0, duration), start, method="DOP853", t_eval=times, rtol=max(tolerance, 3e-14), atol=tolerance
    )
    if not found.success:
        raise InputError(f"gradient flow over {duration:g}: expected a smooth path, got {found.message}; shorten it")
    return torch.from_numpy(times), found.y.T
