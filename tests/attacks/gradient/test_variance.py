"""VMI against algorithm 1 of Wang & He, written out with the same random draws.

Seen to fail with: the variance of this step added in place of the last one's; the gradient left out of the variance;
the tuned gradient remembered in place of the plain one; neighbours within epsilon in place of beta epsilon.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, vmi
from attacks.targets import NetworkModel
from tests.attacks.conftest import Points
from tests.attacks.gradient.recording import BOX, Recorded


def _gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    functional.cross_entropy(network(x), y, reduction="sum").backward()
    assert x.grad is not None
    return x.grad


def _published(network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Four steps of alpha = 0.05 in the ball of 0.2, decay 1, three neighbours, beta 1.5."""
    torch.manual_seed(0)
    origin, variance, momentum, iterates = x, torch.zeros_like(x), torch.zeros_like(x), [x]
    for _ in range(4):
        gradient = _gradient(network, x, y)
        tuned = gradient + variance
        draws = [x + (torch.rand(x.shape) * 0.6 - 0.3) for _ in range(3)]
        variance = torch.stack([_gradient(network, draw, y) for draw in draws]).mean(0) - gradient
        momentum = momentum + tuned / tuned.abs().mean((1, 2, 3), keepdim=True)
        x = torch.minimum(torch.maximum(x + 0.05 * momentum.sign(), origin - 0.2), origin + 0.2).clamp(0, 1)
        iterates.append(x)
    return iterates


def test_the_iterates_are_the_published_ones(network: nn.Module, held_out: Points) -> None:
    """Every iterate is shown to the model, and nothing but its neighbours besides."""
    x, y = held_out.inputs[:10], held_out.labels[:10]
    model = Recorded(network)
    iterates = _published(network, x, y)
    torch.manual_seed(0)
    vmi("linf", keep=KEEP_SURROGATE_LOSS, steps=4, rel_stepsize=0.25, neighbours=3).run(model, x, y, epsilon=0.2)
    shown = [model.seen[1 + 4 * step] for step in range(5)]
    for expected, found in zip(iterates, shown, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_neighbours_are_counted_and_only_survivors_have_them(network: nn.Module, held_out: Points) -> None:
    """Each step costs one gradient and its neighbours' for every point that is still right."""
    x, y = held_out.inputs[:20], held_out.labels[:20]
    model = NetworkModel(network, bounds=BOX, classes=10)
    vmi("linf", keep=KEEP_SURROGATE_LOSS, steps=4, rel_stepsize=0.25).run(model, x, y, epsilon=0.1)
    assert (model.passes.forwards, model.passes.backwards) == (20 * (4 * 21 + 2), 20 * 4 * 21)
    fewer = NetworkModel(network, bounds=BOX, classes=10)
    vmi("linf", keep=KEEP_SERVED_MARGIN, steps=4, rel_stepsize=0.25).run(fewer, x, y, epsilon=0.1)
    assert fewer.passes.backwards < model.passes.backwards
