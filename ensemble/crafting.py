"""The one small PGD that search and hardening craft with. Evaluation never uses it: see the attacks package."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Bounds the memory of a backward pass at 224 x 224.
CHUNK = 32


def craft(
    network: nn.Module,
    inputs: Tensor,
    *,
    radius: float,
    steps: int,
    bounds: tuple[float, float],
    rng: torch.Generator,
) -> Tensor:
    """Return adversarial copies of `inputs` under Linf, against the network's own clean prediction.

    No labels are needed: the pseudo-label is the network's answer on the clean input. Random start, signed steps of
    2.5 radius / steps, last iterate.

    Args:
        network: in evaluation mode.
        inputs: `[batch ...]` inside `bounds`.
        radius: Linf radius in input units.
        steps: gradient steps.
        bounds: least and largest input value.
        rng: CPU generator of the random start.
    """
    noise = (torch.rand(inputs.shape, generator=rng, dtype=inputs.dtype) * 2 - 1).to(inputs.device) * radius
    chunks = zip(inputs.split(CHUNK), noise.split(CHUNK), strict=True)
    return torch.cat([_craft_chunk(network, x, start, radius, steps, bounds) for x, start in chunks])


def _craft_chunk(
    network: nn.Module, x: Tensor, noise: Tensor, radius: float, steps: int, bounds: tuple[float, float]
) -> Tensor:
    with torch.no_grad():
        labels = network(x).argmax(1)

    def loss(probe: Tensor) -> Tensor:
        return F.cross_entropy(network(probe), labels, reduction="sum")

    return ascend(loss, x, noise, radius=radius, steps=steps, bounds=bounds)


def ascend(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Tensor,
    *,
    radius: float | Tensor,
    steps: int,
    bounds: tuple[float, float],
) -> Tensor:
    """Return the last iterate of signed gradient steps of 2.5 radius / steps up a loss, inside the Linf ball of x.

    Args:
        loss: inputs `[batch ...]` -> a scalar, summed over inputs so that no input's gradient depends on another.
        x: centre of the ball.
        noise: the start minus x.
        radius: Linf radius in input units; a tensor that spreads over x gives each input its own.
        steps: gradient steps.
        bounds: least and largest input value.
    """
    adversarial = (x + noise).clamp(*bounds)
    for _ in range(steps):
        probe = adversarial.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(probe), probe)
        moved = adversarial + (2.5 * radius / steps) * gradient.sign()
        adversarial = torch.minimum(torch.maximum(moved, x - radius), x + radius).clamp(*bounds)
    return adversarial.detach()
