"""Intervals and tests against scipy, brute force and the published table.

Seen to fail with: z = 1.64 in `wilson`; the half-width without its z²/4; `binom.sf(b, ...)` in `mcnemar`; b and c
swapped in `paired_gain`; alpha / 2 in `_clopper_pearson`; `holm` without the running maximum; `holm` with the factor m
for every rank; `isf(...)` without + 1 and the power 0.9 in `minimum_detectable_gain`.
"""

from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attacks.statistics import ALPHA, holm, mcnemar, minimum_detectable_gain, paired_gain, wilson
from ensemble.errors import InputError

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_agrees_with_scipy(counts: tuple[int, int]) -> None:
    """The interval is scipy's Wilson interval without continuity correction."""
    k, n = counts
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_wilson_at_the_figures_of_the_standard() -> None:
    """Of 1000 points, 50 % is +-3.1 points and none reaches 0.38 %; of 200, +-6.9 points and 1.88 %."""
    low, high = wilson(500, 1000)
    assert (high - low) / 2 == pytest.approx(0.031, abs=5e-4)
    assert wilson(0, 1000) == pytest.approx((0.0, 0.0038), abs=5e-5)
    assert wilson(0, 1000)[0] == 0.0
    low, high = wilson(100, 200)
    assert (high - low) / 2 == pytest.approx(0.069, abs=5e-4)
    assert wilson(0, 200)[1] == pytest.approx(0.0188, abs=5e-5)


@given(COUNTS)
def test_wilson_contains_the_proportion_and_is_symmetric(counts: tuple[int, int]) -> None:
    """The interval contains k/n, stays in [0, 1], and mirrors when successes and failures change places."""
    k, n = counts
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_wilson_refuses_counts_that_are_no_proportion(k: int, n: int) -> None:
    """Impossible counts are an error, not an interval."""
    with pytest.raises(InputError, match="expected 0 <= k <= n"):
        wilson(k, n)


@pytest.mark.parametrize(("b", "c"), list(product([0, 1, 5, 17], [0, 1, 4, 30])))
def test_mcnemar_is_the_binomial_tail(b: int, c: int) -> None:
    """The p value is the sum of the tail, written out."""
    m = b + c
    expected = sum(comb(m, k) for k in range(b, m + 1)) / 2**m
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-12)


def test_seven_points_are_the_least_evidence() -> None:
    """Seven discordant points, all in favour, reach alpha; six do not."""
    assert mcnemar(7, 0) == pytest.approx(2**-7)
    assert mcnemar(7, 0) <= ALPHA < mcnemar(6, 0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_of_a_gain_agrees_with_its_test(b: int, c: int) -> None:
    """The lower end is above zero exactly where the test rejects, and the gain lies between the ends."""
    gain = paired_gain(b, c, 200)
    assert gain.gain == (b - c) / 200
    assert gain.low <= gain.gain <= gain.high
    assert (gain.low > 0) == (gain.p < ALPHA)
    assert (gain.high < 0) == (gain.p_reverse < ALPHA)


def test_the_interval_of_a_gain_is_clopper_pearson() -> None:
    """The ends are scipy's exact 98 % interval of b/(b + c), carried over."""
    exact = stats.binomtest(20, 25).proportion_ci(0.98, method="exact")
    gain = paired_gain(20, 5, 100)
    assert (gain.low, gain.high) == pytest.approx((0.25 * (2 * exact.low - 1), 0.25 * (2 * exact.high - 1)))


def test_a_gain_without_discordant_points_is_nothing() -> None:
    """Equal verdicts give gain 0 and p 1."""
    gain = paired_gain(0, 0, 50)
    assert (gain.gain, gain.low, gain.high, gain.p) == (0.0, 0.0, 0.0, 1.0)


def test_more_discordant_points_than_points_are_refused() -> None:
    """A sum b + c above n is an error."""
    with pytest.raises(InputError, match=r"b \+ c <= n"):
        paired_gain(6, 5, 10)


def _holm_by_definition(values: list[float]) -> list[float]:
    """Adjusted p of i: the largest (m - rank) p over all hypotheses ranked no later, at most 1."""
    m = len(values)
    order = sorted(range(m), key=lambda i: values[i])
    steps = {i: (m - rank) * values[i] for rank, i in enumerate(order)}
    return [min(1.0, max(steps[j] for j in order[: order.index(i) + 1])) for i in range(m)]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_follows_its_definition(values: list[float]) -> None:
    """The step-down values equal the slow definition, and never fall below the raw ones."""
    assert holm(values) == pytest.approx(_holm_by_definition(values))
    assert all(adjusted >= raw for adjusted, raw in zip(holm(values), values, strict=True))


TABLE = {
    200: (None, 4.8, 7.1, 10.2, 14.4),
    1000: (1.4, 2.3, 3.2, 4.6, 6.4),
}


@pytest.mark.parametrize("n", list(TABLE))
def test_minimum_detectable_gain_reproduces_the_table(n: int) -> None:
    """In points, at 2, 5, 10, 20 and 40 % discordant points, to the digit printed."""
    for share, expected in zip((0.02, 0.05, 0.1, 0.2, 0.4), TABLE[n], strict=True):
        found = minimum_detectable_gain(n, share)
        if expected is None:
            assert found is None
        else:
            assert found is not None
            assert 100 * found == pytest.approx(expected, abs=0.0501)


def test_minimum_detectable_gain_for_ten_thousand_points() -> None:
    """The exact values are within 0.1 point of the normal approximation."""
    for share, expected in zip((0.02, 0.05, 0.1, 0.2, 0.4), (0.5, 0.7, 1.0, 1.4, 2.0), strict=True):
        found = minimum_detectable_gain(10_000, share)
        assert found is not None
        assert 100 * found == pytest.approx(expected, abs=0.1)


def test_minimum_detectable_gain_has_the_power_it_says() -> None:
    """Summed over every table of counts by hand, the power at d is 80 %, and less just below."""

    def power(n: int, share: float, d: float) -> float:
        total = 0.0
        for m in range(n + 1):
            critical = next((k for k in range(m + 1) if mcnemar(k, m - k) <= ALPHA), None)
            if critical is not None:
                theta = (share + d) / (2 * share)
                total += stats.binom.pmf(m, n, share) * stats.binom.sf(critical - 1, m, theta)
        return total

    found = minimum_detectable_gain(60, 0.4)
    assert found is not None
    assert power(60, 0.4, found) == pytest.approx(0.8, abs=1e-4)
    assert power(60, 0.4, found - 0.005) < 0.8


def test_no_discordant_points_detect_nothing() -> None:
    """Without disagreement no gain can be found."""
    assert minimum_detectable_gain(1000, 0.0) is None
