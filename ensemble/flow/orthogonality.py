"""Does the loss really not push along a conserved quantity? <grad Q, grad L> by autograd, with no formula of ours."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]
Function = Callable[[Parameters], Tensor]


def loss_gradient(loss: Function, parameters: Parameters) -> dict[str, Tensor]:
    """Return the gradient of a loss, summed over whatever axes it returns; zero for parameters it does not read."""
    with torch.enable_grad():
        free = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
        found = torch.autograd.grad(loss(free).sum(), list(free.values()), materialize_grads=True)
    return dict(zip(free, found, strict=True))


def directional_derivative(function: Function, parameters: Parameters, direction: Parameters) -> Tensor:
    """Return the derivative of a tensor-valued function along a direction; the function may be nested in another one.

    By two reverse passes: the derivative of a vector-Jacobian product by its vector.
    """
    value, pull = torch.func.vjp(function, dict(parameters))[:2]
    push = torch.func.vjp(lambda vector: pull(vector)[0], torch.zeros_like(value))[1]
    derivative: Tensor = push(dict(direction))[0]
    return derivative


def flow_cosines(quantity: Function, loss: Function, parameters: Parameters) -> Tensor:
    """Return <grad Q, grad L> / (|grad Q| |grad L|) for every value of a quantity, in its shape; conserved is 0.

    Args:
        quantity: named parameters -> values, for example a law's `quantity`.
        loss: named parameters -> scalar.
        parameters: where.
    """
    gradient = loss_gradient(loss, parameters)
    rows = torch.func.jacrev(quantity)({name: tensor.detach() for name, tensor in parameters.items()})
    shape = quantity(parameters).shape
    flat = torch.cat([row.reshape(shape.numel(), -1) for row in rows.values()], dim=1)
    direction = torch.cat([gradient[name].reshape(-1) for name in rows])
    tiny = torch.finfo(direction.dtype).tiny
    cosines: Tensor = ((flat @ direction) / (flat.norm(dim=1) * direction.norm()).clamp_min(tiny)).reshape(shape)
    return cosines
