"""Noise has the size it is asked for, also beside the border of the box.

Seen to fail with: the L1 noise scaled before clipping only; signs all positive; sizes uniform in place of exponential;
the first bend taken for the right one; Gaussian noise offered in Linf.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.noise import gaussian_noise, uniform_noise
from attacks.targets import NetworkModel
from attacks.threat import measure
from ensemble.errors import UnknownName


@pytest.fixture(autouse=True)
def seeded() -> Any:
    """Each test draws the same numbers and leaves the generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def model() -> NetworkModel:
    """Noise reads nothing of it but its bounds."""
    return NetworkModel(nn.Flatten().eval(), bounds=(0.0, 1.0), classes=48)


def _near_the_border(n: int = 64) -> Tensor:
    x = torch.rand(n, 3, 4, 4)
    return torch.where(torch.rand_like(x) < 0.4, x.round(), x)


@pytest.mark.parametrize(
    ("norm", "epsilon"), [("l1", 0.01), ("l1", 1.0), ("l1", 5.0), ("l1", 12.0), ("l2", 0.2), ("l2", 1.0)]
)
def test_noise_fills_its_ball_after_clipping(norm: str, epsilon: float, model: NetworkModel) -> None:
    """Although two fifths of the values lie on the border, the change measures epsilon, inside the box."""
    x = _near_the_border()
    found = uniform_noise(norm).run(model, x, torch.zeros(64, dtype=torch.int64), epsilon=epsilon)
    assert found.min() >= 0
    assert found.max() <= 1
    size = measure(norm, found - x)
    torch.testing.assert_close(size, torch.full_like(size, epsilon), rtol=1e-4, atol=1e-5)


def test_a_radius_beyond_the_box_ends_at_its_walls(model: NetworkModel) -> None:
    """No scale reaches 100 in L1 here: every value goes to the wall its sign points at."""
    x = _near_the_border()
    found = uniform_noise("l1").run(model, x, epsilon=100.0)
    assert ((found == 0) | (found == 1)).float().mean() > 0.99


def test_l1_noise_is_uniform_on_the_sphere(model: NetworkModel) -> None:
    """Away from the border: signs balance, no direction is preferred, and a share has the law of the simplex."""
    x = torch.full((20000, 1, 1, 4), 0.5)
    share = ((uniform_noise("l1").run(model, x, epsilon=0.4) - x) / 0.4).flatten(1)
    assert share.mean(0).abs().max() < 0.01
    torch.testing.assert_close(share.abs().mean(0), torch.full((4,), 0.25), rtol=0, atol=0.01)
    # Of a uniform point of the simplex with four corners one coordinate exceeds t with probability (1 - t)^3.
    for t in (0.1, 0.5, 0.8):
        assert (share[:, 0].abs() > t).float().mean().item() == pytest.approx((1 - t) ** 3, abs=0.015)


def test_draws_differ_and_a_seed_fixes_them(model: NetworkModel) -> None:
    """Same seed, same bytes."""
    x, found = _near_the_border(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(uniform_noise("l1").run(model, x, epsilon=1.0))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_gaussian_noise_has_its_size_in_l2_only(model: NetworkModel) -> None:
    """Its tails are those of a normal draw; another norm is refused."""
    x = torch.full((2000, 3, 4, 4), 0.5)
    found = gaussian_noise("l2").run(model, x, epsilon=0.5)
    size = measure("l2", found - x)
    torch.testing.assert_close(size, torch.full_like(size, 0.5), rtol=1e-4, atol=1e-5)
    kurtosis = (found - x).pow(4).mean() / (found - x).square().mean().square()
    assert kurtosis.item() == pytest.approx(3.0 * 48 / 50, abs=0.1)  # of a coordinate of the sphere: 3 d/(d + 2)
    with pytest.raises(UnknownName, match="l2"):
        gaussian_noise("linf")
