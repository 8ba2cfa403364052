"""Interval bounds against three oracles: closed forms, random sampling, and enumeration of activation patterns.

Seen to fail when: the radius is mapped by W instead of |W|; BatchNorm forgets its scale's sign; a convolution adds its
bias to the radius; the last layer's margin takes the wrong row; LeakyReLU of a negative slope is let through; a
residual sum adds low to high; the label's own column is not left out.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from attacks.certificates import NoRule, margin_bounds


def _box(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    return (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)


def test_a_linear_network_has_its_exact_margin() -> None:
    """The least of (w_y - w_j) x + b_y - b_j is reached corner by corner, and the bound is that."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
    x, labels = torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    low, high = _box(x, 0.1)
    bounds = margin_bounds(network, low, high, labels)
    layer = network[1]
    assert isinstance(layer, nn.Linear)
    for row, (label, least, largest) in enumerate(zip(labels, low.flatten(1), high.flatten(1), strict=True)):
        for other in range(5):
            if other == label:
                assert bounds[row, other] == torch.inf
                continue
            weight = layer.weight.detach()[label].double() - layer.weight.detach()[other].double()
            corner = torch.where(weight > 0, least, largest).double()
            exact = weight @ corner + layer.bias.detach()[label].double() - layer.bias.detach()[other].double()
            assert float(bounds[row, other]) == pytest.approx(float(exact.detach()), abs=1e-9)


class _Residual(nn.Module):
    """Convolutions, BatchNorm with both signs of scale, leaky and plain ReLU, pooling, a shortcut that is padded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.leaky = nn.LeakyReLU(0.2)
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            assert self.norm.running_mean is not None
            assert self.norm.running_var is not None
            self.norm.running_mean.copy_(torch.randn(4))
            self.norm.running_var.copy_(torch.rand(4) + 0.5)
            self.norm.weight.copy_(torch.tensor([1.5, -1.0, 0.5, -2.0]))
            self.norm.bias.copy_(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.leaky(self.norm(self.stem((x - 0.4) / 0.25)))
        shortcut = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        x = nn.functional.relu(self.down(x) + shortcut)
        x = nn.functional.avg_pool2d(self.pool(x), 2)
        logits: Tensor = self.head(x.view(x.size(0), -1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": _Residual,
    "batch norm of vectors": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 4), nn.Identity()
    ),
    "adaptive pooling": lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    ),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_no_sample_beats_the_bound(name: str) -> None:
    """Two thousand points of the box, corners among them, have margins above the bound; it is not wildly loose."""
    torch.manual_seed(1)
    network = NETWORKS[name]().eval()
    x = torch.rand(1, 2, 8, 8)
    labels = network(x).argmax(1)
    low, high = _box(x, 0.02)
    bound = margin_bounds(network, low, high, labels)[0]
    share = torch.rand(2000, 2, 8, 8)
    share[:1000] = share[:1000].round()
    logits = network(low + share * (high - low)).detach().double()
    margins = logits[:, labels] - logits
    for other in range(4):
        if other != labels.item():
            least = float(margins[:, other].min())
            assert float(bound[other]) <= least + 1e-5
            assert float(bound[other]) > least - 10


def test_a_box_of_no_width_gives_the_margin_itself() -> None:
    """With radius nought every layer is evaluated, in float64."""
    torch.manual_seed(2)
    network = _Residual().eval()
    x, labels = torch.rand(3, 2, 8, 8), torch.tensor([0, 1, 2])
    logits = network.double()(x.double())
    expected = logits.gather(1, labels[:, None]) - logits
    found = margin_bounds(network.float(), x, x, labels)
    for row, label in enumerate(labels.tolist()):
        others = [k for k in range(4) if k != label]
        torch.testing.assert_close(found[row, others], expected[row, others], atol=1e-6, rtol=1e-6)


def _exact_margin(first: nn.Linear, second: nn.Linear, low: Tensor, high: Tensor, label: int, other: int) -> float:
    """The least margin of a one-layer ReLU network over a box, by one linear program per activation pattern."""
    weight, bias = first.weight.detach().double(), first.bias.detach().double()
    direction = (second.weight[label] - second.weight[other]).detach().double()
    shift = float((second.bias[label] - second.bias[other]).detach())
    least = torch.inf
    for pattern in itertools.product((0.0, 1.0), repeat=len(weight)):
        on = torch.tensor(pattern, dtype=torch.float64)
        objective = (direction * on) @ weight
        sign = (1 - 2 * on)[:, None]  # w x + b >= 0 where on, <= 0 where off
        found = linprog(
            objective.numpy(),
            A_ub=(sign * weight).numpy(),
            b_ub=(-sign[:, 0] * bias).numpy(),
            bounds=list(zip(low.tolist(), high.tolist(), strict=True)),
        )
        if found.success:
            least = min(least, found.fun + float((direction * on) @ bias) + shift)
    return float(least)


@pytest.mark.parametrize("epsilon", [0.001, 0.2])
def test_enumeration_of_a_tiny_network_never_lies_below_the_bound(epsilon: float) -> None:
    """Over all patterns of six units the true minimum is above the bound, and equal to it where no unit can flip."""
    torch.manual_seed(3)
    first, second = nn.Linear(3, 6), nn.Linear(6, 3)
    network = nn.Sequential(first, nn.ReLU(), second).eval()
    x, labels = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])
    low, high = _box(x, epsilon)
    bounds = margin_bounds(network, low, high, labels)
    stable = 0
    for row in range(4):
        reach = epsilon * first.weight.abs().sum(1)
        settled = bool((first(x[row]).abs() > reach).all())
        for other in range(3):
            if other == labels[row]:
                continue
            exact = _exact_margin(first, second, low[row], high[row], int(labels[row]), other)
            assert float(bounds[row, other]) <= exact + 1e-7
            assert float(bounds[row, other]) > exact - 5
            stable += settled
    assert stable > 0 if epsilon < 0.01 else stable >= 0


def test_layers_without_a_rule_are_refused_by_name() -> None:
    """GELU, a negative slope, unflattening and products of activations have no bound, and the error says which."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    refused: dict[str, nn.Module] = {
        "GELU": nn.GELU(),
        "slope": nn.LeakyReLU(-0.1),
        "product": Product(),
        "Unflatten": nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Flatten()),
    }
    x = torch.rand(2, 4)
    for word, layer in refused.items():
        network = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 3)).eval()
        with pytest.raises(NoRule, match=word):
            margin_bounds(network, x, x, torch.tensor([0, 1]))
