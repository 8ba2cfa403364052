"""The gradient probes count what is there on networks whose gradients are known, and ring on networks that mask them.

Seen to fail when: cross-entropy and margin are swapped; the threshold is 1e-3; the last iterate is returned for the
best; the step of the central difference is halved in the quotient; a zero gradient is skipped; noise is drawn once.
"""

import pytest
import torch
from torch import Tensor, nn

from attacks import ThreatModel
from attacks.gradient import descent
from attacks.probes_gradients import directional, iterates, landscape, vanishing
from attacks.targets import NetworkModel, wrap
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)
THREAT = ThreatModel("linf", (0.1,))


class _Changed(nn.Module):
    """A network with something done to its logits or its inputs."""

    def __init__(self, network: nn.Module, *, scale: float = 1.0, levels: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.levels = levels
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.levels is not None:
            x = (x * self.levels).round() / self.levels
        logits: Tensor = self.network(x)
        return self.scale * logits


def _wrapped(network: nn.Module, points: Points) -> NetworkModel:
    return wrap(network, bounds=BOX, example=points.inputs[:4])


def test_an_honest_network_has_gradients(network: nn.Module, held_out: Points) -> None:
    """No margin gradient vanishes on a plain classifier."""
    found = vanishing(_wrapped(network, held_out), held_out.inputs, held_out.labels, block=40)
    assert found["points"] == 100
    assert found["margin"] == found["both"] == 0
    small = vanishing(
        _wrapped(_Changed(network, scale=1e-6), held_out), held_out.inputs, held_out.labels, block=40
    )  # small, yet with a direction
    assert small["margin"] == small["cross_entropy"] == 0


def test_saturation_is_seen_under_cross_entropy_only(network: nn.Module, held_out: Points) -> None:
    """Logits times ten thousand leave the margin's gradient and kill the cross-entropy's."""
    found = vanishing(_wrapped(_Changed(network, scale=1e4), held_out), held_out.inputs, held_out.labels, block=40)
    assert found["cross_entropy"] > 80
    assert found["margin"] == found["both"] == 0


def test_rounded_inputs_have_no_gradient_at_all(network: nn.Module, held_out: Points) -> None:
    """Rounding without a straight-through backward is flat under both losses."""
    found = vanishing(_wrapped(_Changed(network, levels=8), held_out), held_out.inputs, held_out.labels, block=40)
    assert found == {"points": 100, "cross_entropy": 100, "margin": 100, "both": 100}


def test_the_suite_s_attack_returns_its_best_iterate(network: nn.Module, held_out: Points) -> None:
    """No returned example is worse than an iterate; silent successes are a small part of the right points."""
    found = iterates(_wrapped(network, held_out), held_out.inputs, held_out.labels, THREAT, block=40, seed=1)
    assert found["not_best"] == 0
    assert 80 <= found["points"] <= 100
    assert found["silent"] <= 5


def test_an_attack_that_returns_its_last_iterate_is_noticed(
    network: nn.Module, held_out: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bookkeeping of best iterates broken, examples are not the best of their run."""

    def last(best: Tensor, rank: Tensor, x: Tensor, rows: Tensor, new: Tensor) -> None:
        best[rows] = x[rows]

    monkeypatch.setattr(descent, "_keep", last)
    found = iterates(_wrapped(network, held_out), held_out.inputs, held_out.labels, THREAT, block=40, seed=1)
    assert found["not_best"] > 10


def test_radius_nought_has_no_iterates(network: nn.Module, held_out: Points) -> None:
    """At epsilon 0 nothing is attacked."""
    still = ThreatModel("linf", (0.0,))
    assert iterates(_wrapped(network, held_out), held_out.inputs, held_out.labels, still, block=40, seed=1) == {
        "points": 0,
        "silent": 0,
        "not_best": 0,
    }


def test_autograd_is_the_derivative_of_an_honest_network(network: nn.Module, held_out: Points) -> None:
    """Nearly all of 64 times 8 directions agree within one percent."""
    found = directional(_wrapped(network, held_out), held_out.inputs, held_out.labels, block=40, seed=2)
    assert found["compared"] == 64 * 8
    assert found["agree"] >= 0.99 * found["compared"]


class _WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 1.05 * gradient


class _Masked(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _WrongBackward.apply(x)  # type: ignore[no-untyped-call]
        z: Tensor = self.network(y)
        return z


def test_a_backward_pass_that_is_five_percent_off_is_noticed(network: nn.Module, held_out: Points) -> None:
    """A custom backward that does not belong to its forward disagrees in nearly all directions."""
    found = directional(_wrapped(_Masked(network), held_out), held_out.inputs, held_out.labels, block=40, seed=2)
    assert found["agree"] < 0.05 * found["compared"]


def test_the_landscape_of_a_linear_network_is_known(held_out: Points) -> None:
    """Where the loss is nearly linear and the noise small, the change is small; a cliff at every pixel is not."""

    class Cliffs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)[:, :2]
            return 5 * torch.sin(1e6 * flat)

    labels = held_out.labels % 2
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    calm = landscape(_wrapped(smooth, held_out), held_out.inputs, labels, THREAT, block=40, seed=3)
    wild = landscape(_wrapped(Cliffs().eval(), held_out), held_out.inputs, labels, THREAT, block=40, seed=3)
    assert calm["mean_change"] < 0.1
    assert wild["mean_change"] > 0.5
    assert calm["radius"] == pytest.approx(0.01)
