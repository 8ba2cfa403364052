r"""Convergence rate and sharpness against Q: one number at the minimum of one unit, the Hessian's spectrum for any.

For one linear unit, `L = 1/2 (y - u v)^2` and `Q = 1/2 (u^2 - v^2)`, the product obeys `d(uv)/dt = 2 sqrt(Q^2 + (uv)^2)
(y - uv)`: at the minimum the non-zero Hessian eigenvalue and the asymptotic rate are both `2 sqrt(Q^2 + y^2)`. A larger
|Q| is faster in continuous time and sharper, so it needs smaller steps. Derived here; docs/mathematics.md, section 14.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.flow.dynamics import Trajectory
from ensemble.flow.orthogonality import Function, Parameters


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Part of a Hessian's spectrum.

    Attributes:
        eigenvalues: `[count]`, largest first.
        residuals: `[count]`, |H x - lambda x| of each, in the unit of the eigenvalues: an eigenvalue lies that close.
    """

    eigenvalues: Tensor
    residuals: Tensor


def unit_sharpness(quantity: float, target: float) -> float:
    """Return 2 sqrt(Q^2 + y^2): sharpness at the minimum and asymptotic rate of one linear unit.

    Examples:
        >>> unit_sharpness(3.0, 4.0)
        10.0
    """
    return 2 * math.hypot(quantity, target)


def convergence_rate(path: Trajectory, *, start: float = 0.5) -> Tensor:
    """Return the rate r of |residual| ~ exp(-r t) over the last part of a path, for a loss that falls to 0.

    The loss of a squared residual falls like exp(-2 r t), so r is minus half the slope of its logarithm.

    Args:
        path: a trajectory with losses `[points ...]`.
        start: share of the points that are left out at the beginning.

    Raises:
        InputError: fewer than two points are left, or a loss is not positive.
    """
    first = math.floor(start * len(path.times))
    losses = path.losses[first:].double().flatten(1) if path.losses.ndim > 1 else path.losses[first:, None].double()
    if losses.shape[0] < 2 or not bool((losses > 0).all()):
        raise InputError(f"expected at least 2 positive losses, got {losses.shape[0]}; record more or stop earlier")
    times = path.times[first:].to(losses)
    times = times if times.ndim > 1 else times[:, None]
    centred = times - times.mean(0)
    slope = (centred * losses.log()).sum(0) / centred.square().sum(0)
    rate: Tensor = -slope.reshape(path.losses.shape[1:]) / 2
    return rate


def hessian(loss: Function, parameters: Parameters) -> Tensor:
    """Return the dense Hessian `[size size]` of a scalar loss in the parameters' order; time and memory size^2."""
    flat, unpack = _flattened(parameters)
    dense: Tensor = torch.func.jacrev(torch.func.jacrev(lambda vector: loss(unpack(vector))))(flat)
    return (dense + dense.T) / 2


def hessian_product(loss: Function, parameters: Parameters) -> Callable[[Tensor], Tensor]:
    """Return v -> H v for flat vectors `[size]`, by two reverse passes: memory of two gradients."""
    flat, unpack = _flattened(parameters)

    def product(vector: Tensor) -> Tensor:
        with torch.enable_grad():
            point = flat.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(unpack(point)), point, create_graph=True)
            (image,) = torch.autograd.grad(gradient @ vector, point, materialize_grads=True)
        return image

    return product


def largest_eigenvalues(
    loss: Function, parameters: Parameters, *, count: int, steps: int = 60, rng: torch.Generator
) -> Spectrum:
    """Return the largest Hessian eigenvalues by Lanczos with full reorthogonalisation.

    Args:
        loss: named parameters -> scalar.
        parameters: where.
        count: how many eigenvalues.
        steps: Hessian-vector products; more where the residuals are not small.
        rng: CPU generator of the start vector.

    Raises:
        InputError: `count` above the number of steps or of parameters.

    Complexity: steps products and steps^2 x size operations; steps x size memory.
    """
    size = sum(tensor.numel() for tensor in parameters.values())
    steps = min(steps, size)
    if not 0 < count <= steps:
        raise InputError(f"count: expected 1 to {steps} (steps, or the number of parameters), got {count}")
    some = next(iter(parameters.values()))
    start = torch.randn(size, dtype=torch.float64, generator=rng).to(some)
    alphas, betas = _lanczos(hessian_product(loss, parameters), start, steps)
    matrix = torch.diag(alphas) + torch.diag(betas[:-1], 1) + torch.diag(betas[:-1], -1)
    values, vectors = torch.linalg.eigh(matrix)
    # The last component of a Ritz vector times the last off-diagonal entry is the norm of its residual.
    residuals = (betas[-1] * vectors[-1]).abs()
    order = torch.arange(len(values) - 1, max(len(values) - 1 - count, -1), -1)
    return Spectrum(values[order], residuals[order])


def _lanczos(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the tridiagonal matrix's diagonal and off-diagonal, each `[steps]`; fewer where the space is exhausted."""
    basis = [start / start.norm()]
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    for _ in range(steps):
        image = product(basis[-1])
        alphas.append(image @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough
            image = image - known.T @ (known @ image)
        betas.append(image.norm())
        if len(alphas) == steps or bool(betas[-1] <= 1e-13 * torch.stack(alphas).abs().max()):
            break
        basis.append(image / betas[-1])
    return torch.stack(alphas), torch.stack(betas)


def _flattened(parameters: Parameters) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
    shapes = {name: tensor.shape for name, tensor in parameters.items()}
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in parameters.values()])

    def unpack(vector: Tensor) -> dict[str, Tensor]:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    return flat, unpack
