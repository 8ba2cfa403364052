r"""Paths between two points of a valley, and the loss barrier on the way: straight lines against orbits.

Two networks of one orbit are joined by `exp(t log g)`, along which the function, hence the loss, does not change. For
scalings of units that curve is the geometric mean of the weights, entry by entry. The straight line leaves the valley:
by at most about curvature x |distance|^2 / 8 (arXiv 2505.23681). docs/mathematics.md, section 13.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble.errors import InputError
from ensemble.flow.orthogonality import Function, Parameters

Path = Callable[[float], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class PathLoss:
    """The loss along a path.

    Attributes:
        times: `[points]` from 0 to 1.
        losses: `[points]`.
        barrier: largest excess over the straight line between the losses at the two ends; 0 if there is none.
    """

    times: Tensor
    losses: Tensor
    barrier: float


def straight_path(start: Parameters, end: Parameters) -> Path:
    """Return t -> (1 - t) start + t end."""
    _check(start, end)
    return lambda t: {name: (1 - t) * start[name] + t * end[name] for name in start}


def orbit_path(start: Parameters, end: Parameters) -> Path:
    """Return t -> the point of the orbit between two networks that differ by scalings of units.

    Entry by entry sign |start|^(1-t) |end|^t, which is exp(t log g) start for a diagonal g.

    Raises:
        InputError: an entry changes its sign or is zero on one side only: no scaling leads from start to end.
    """
    _check(start, end)
    for name in start:
        if not torch.equal(start[name].sign(), end[name].sign()):
            raise InputError(f"{name}: expected weights of equal signs, got a change; the two differ by no scaling")

    def point(t: float) -> dict[str, Tensor]:
        return {name: start[name].sign() * start[name].abs() ** (1 - t) * end[name].abs() ** t for name in start}

    return point


def path_loss(path: Path, loss: Function, points: int = 25) -> PathLoss:
    """Return the loss at evenly spaced points of a path, and its barrier.

    Args:
        path: from t in [0, 1] to named parameters.
        loss: named parameters -> scalar.
        points: how many, both ends included.
    """
    times = torch.linspace(0, 1, points, dtype=torch.float64)
    with torch.no_grad():
        losses = torch.stack([loss(path(float(t))).double().cpu() for t in times])
    between = losses[0] + times * (losses[-1] - losses[0])
    return PathLoss(times, losses, float((losses - between).clamp_min(0).max()))


def network_loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> Function:
    """Return named parameters -> mean cross-entropy of the network with these parameters; buffers are the network's.

    Args:
        network: in the mode it should run in; not changed.
        inputs: `[n ...]`.
        labels: `[n]`.
    """
    buffers = dict(network.named_buffers())

    def loss(parameters: Parameters) -> Tensor:
        logits = torch.func.functional_call(network, {**buffers, **parameters}, (inputs,))
        return torch.nn.functional.cross_entropy(logits, labels)

    return loss


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's named parameters, detached."""
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _check(start: Parameters, end: Parameters) -> None:
    ours, theirs = ({name: tuple(tensor.shape) for name, tensor in ends.items()} for ends in (start, end))
    if ours != theirs:
        raise InputError(
            f"expected two ends with the same parameters, got {sorted(set(ours) ^ set(theirs)) or 'others'}"
        )
