"""Moments of Q at initialisation: closed forms against draws, and against the formulas of the account.

Seen to fail when: the fourth moment of the normal is 2 std^4; the factor 1/2 is squared twice; fan in and fan out are
exchanged; the sigmoid's linear term is dropped; the tanh integral is sinh^2.
"""

import itertools
import math

import pytest
import torch

from ensemble.activations import SIGMOID, TANH
from ensemble.flow import (
    HALF_SQUARE,
    INTEGRALS,
    POSITIVE_HALF_SQUARE,
    SCHEMES,
    SIGMOID_INTEGRAL,
    TANH_INTEGRAL,
    Integral,
    Scheme,
    Shape,
    conserved_quantity,
    quantity_moments,
    sample_quantities,
)
from tests.ensemble.flow.cases import normal, rng

SHAPES = (Shape(100, 100, 100), Shape(100, 200, 100), Shape(200, 100, 100))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("integral", INTEGRALS, ids=lambda integral: integral.name)
def test_closed_forms_agree_with_draws(scheme: Scheme, integral: Integral) -> None:
    """Mean and spread of 1000 networks are within four standard errors of the closed forms."""
    shape, count = Shape(12, 20, 9), 1000
    expected = quantity_moments(shape, scheme, integral)
    found = sample_quantities(shape, scheme, integral, count, rng(7))
    assert abs(float(found.mean()) - expected.mean) < 4 * expected.std / math.sqrt(count)
    kurtosis = float(((found - found.mean()) ** 4).mean() / found.var() ** 2)
    assert abs(float(found.std()) / expected.std - 1) < 4 * math.sqrt((kurtosis - 1) / (4 * count))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_account_s_formulas(shape: Shape) -> None:
    """Fan-in normal weights have the means and spreads that are derived for the paper's three shapes."""
    m, h, n = shape.out, shape.hidden, shape.inp

    def moments(integral: Integral) -> tuple[float, float]:
        found = quantity_moments(shape, SCHEMES[0], integral)
        return found.mean, found.std

    e = math.exp
    assert moments(HALF_SQUARE) == pytest.approx(((m - h) / 2, math.sqrt(2 * m / h + 2 * h / n) / 2))
    assert moments(POSITIVE_HALF_SQUARE) == pytest.approx(((m - h / 2) / 2, math.sqrt(2 * m / h + 5 * h / (4 * n)) / 2))
    mean, std = moments(TANH_INTEGRAL)
    assert mean == pytest.approx(m / 2 - n * h * (e(2 / n) - 1) / 4)
    assert std == pytest.approx(math.sqrt(2 * m / h + 2 * h / n) / 2, rel=0.03)
    variance = m / (2 * h) + n * h * (1 / n + e(2 / n) - e(1 / n) + 2 / n * e(1 / (2 * n)))
    assert moments(SIGMOID_INTEGRAL) == pytest.approx((m / 2 - n * h * (e(1 / (2 * n)) - 1), math.sqrt(variance)))


def test_draws_are_the_conserved_quantity() -> None:
    """The integrals are those of `conserved_quantity`."""
    U, V = normal(3, 4), normal(4, 2, seed=1)
    for row, integral in ((TANH, TANH_INTEGRAL), (SIGMOID, SIGMOID_INTEGRAL)):
        expected = U.square().sum() / 2 - integral.function(V).sum()
        torch.testing.assert_close(conserved_quantity(U, V, row), expected)


@pytest.mark.parametrize("integral", INTEGRALS, ids=lambda integral: integral.name)
def test_the_relative_spread_vanishes_with_width(integral: Integral) -> None:
    """Wider networks start in an ever thinner slice of the valley."""
    spreads = [quantity_moments(Shape(h, h, h), SCHEMES[0], integral).relative for h in (10, 100, 1000, 10000)]
    assert all(later < 0.4 * earlier for earlier, later in itertools.pairwise(spreads))
    assert spreads[-1] < 0.03


def test_the_same_seed_draws_the_same() -> None:
    """Draws depend on the generator alone, and upper and lower weights are different draws."""
    shape = Shape(4, 4, 4)
    first, again = (sample_quantities(shape, SCHEMES[0], HALF_SQUARE, 3, rng(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert float(first.abs().min()) > 0  # equal weights in both layers would give exactly 0
