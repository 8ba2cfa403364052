"""The attacks of figure 11: the published ones with their defects, the corrected one within its declared ball.

Seen to fail when: the published FGSM is applied once; it clamps to the data's bounds; PGD steps down the loss; the
projection forgets the bounds or the radius; the published PGD starts at the image.
"""

import torch
from torch import Tensor

from attacks.paper.crafting import BOUNDS, Ball, fgsm_as_published, gradient, pgd, pgd_as_published
from attacks.paper.networks import cross_entropy, fresh, leaky

NETWORKS = fresh([0, 1], (3, 8, 8), leaky)
RNG = torch.Generator().manual_seed(0)
PIXELS = (torch.rand(2, 12, 3, 8, 8, generator=RNG) - 0.5).clamp(*BOUNDS)
LABELS = torch.randint(10, (12,), generator=RNG)


def objective(pixels: Tensor) -> Tensor:
    """Return the loss of each network at its own images."""
    return cross_entropy(NETWORKS.logits(pixels), LABELS)


def test_the_gradient_is_each_networks_own() -> None:
    """By a central difference in one pixel of the second network, in float64."""
    direction = torch.zeros_like(PIXELS)
    direction[1, 3, 0, 4, 4] = 1.0
    step = 1e-2
    slope = (objective(PIXELS + step * direction) - objective(PIXELS - step * direction))[1] / (2 * step)
    torch.testing.assert_close(gradient(objective, PIXELS)[1, 3, 0, 4, 4], slope, rtol=2e-2, atol=1e-6)


def test_the_published_fgsm_moves_twice_and_clamps_to_wrong_bounds() -> None:
    """Bright pixels move by up to two epsilon, negative ones to 0, far beyond it; at 0 nothing moves."""
    epsilon = 0.01
    attacked = fgsm_as_published(objective, PIXELS, epsilon)
    moved = (attacked - PIXELS).abs()
    bright, dark = 3 * epsilon < PIXELS, PIXELS < -0.1
    assert float(moved[bright].max()) > 1.5 * epsilon
    assert float(moved[bright].max()) <= 2 * epsilon + 1e-6
    assert float(attacked.min()) >= 0
    assert float(moved[dark].min()) > 5 * epsilon
    assert torch.equal(fgsm_as_published(objective, PIXELS, 0.0), PIXELS)


def test_the_published_pgd_is_mostly_noise_of_its_unset_radius() -> None:
    """One iteration moves bright pixels far beyond its step of .01, by the random start in the ball of .3."""
    attacked = pgd_as_published(objective, PIXELS, 1, seed=0)
    bright = PIXELS > 0.1
    assert float((attacked - PIXELS)[bright].abs().mean()) > 0.05
    assert float(attacked.min()) >= 0
    assert torch.equal(pgd_as_published(objective, PIXELS, 0, seed=0), PIXELS)


def test_the_corrected_pgd_keeps_its_ball_and_raises_the_loss() -> None:
    """Within epsilon and within [-.5, .5]; it beats noise of equal size; one seed, one result."""
    epsilon = 0.03
    attacked = pgd(objective, PIXELS, epsilon, 10, seed=1)
    assert float((attacked - PIXELS).abs().max()) <= epsilon + 1e-6
    assert float((attacked - PIXELS).abs().max()) > 0.9 * epsilon
    assert float(attacked.min()) >= BOUNDS[0]
    assert float(attacked.max()) <= BOUNDS[1]
    noisy = Ball(PIXELS, epsilon, BOUNDS).corners(torch.Generator().manual_seed(0))
    assert float((noisy - PIXELS).abs().max()) <= epsilon + 1e-6
    assert bool((objective(attacked) > objective(noisy)).all())
    assert bool((objective(attacked) > objective(PIXELS)).all())
    assert torch.equal(attacked, pgd(objective, PIXELS, epsilon, 10, seed=1))
    torch.testing.assert_close(pgd(objective, PIXELS, 0.0, 3, seed=1), PIXELS)
