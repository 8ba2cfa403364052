"""Intervals and tests on counts: pure functions, no sampling.

Every proportion gets a Wilson interval; every comparison of two targets is paired, on the same points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from scipy import stats

from ensemble.errors import InputError

#: The 97.5 % point of the normal distribution.
Z = 1.959964
#: The level of every one-sided test.
ALPHA = 0.01
#: The power at which a gain counts as detectable.
POWER = 0.8


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of the proportion k/n.

    Centre (k + z²/2)/(n + z²), half-width z/(n + z²) sqrt(k(n-k)/n + z²/4).

    Args:
        k: successes, 0 <= k <= n.
        n: trials, >= 1.

    Returns:
        (low, high) inside [0, 1].

    Raises:
        InputError: counts that are not a proportion.
    """
    if n < 1 or not 0 <= k <= n:
        raise InputError(f"Wilson interval: expected 0 <= k <= n and n >= 1, got k = {k}, n = {n}; check the counts")
    centre = (k + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * sqrt(k * (n - k) / n + Z * Z / 4)
    low = 0.0 if k == 0 else max(0.0, centre - half)
    return low, 1.0 if k == n else min(1.0, centre + half)


def binomial_above(k: int, n: int, share: float) -> float:
    """Return the probability of k or more of n where each has this share: one-sided, exact.

    Args:
        k: how many were seen.
        n: of how many.
        share: expected of each.
    """
    return float(stats.binom.sf(k - 1, n, share))


def mcnemar(b: int, c: int) -> float:
    """Return the exact one-sided p value that the first target is better, from the discordant pairs.

    p = sum over k = b .. b + c of C(b + c, k) 2^-(b + c).

    Args:
        b: points the first target holds and the second loses.
        c: points the second target holds and the first loses.

    Returns:
        p in (0, 1]; 1 without discordant points.
    """
    return float(stats.binom.sf(b - 1, b + c, 0.5)) if b + c else 1.0


@dataclass(frozen=True, slots=True)
class Gain:
    """A paired difference between two targets on the same points.

    Attributes:
        b: points the first holds and the second loses.
        c: points the second holds and the first loses.
        gain: (b - c)/n.
        low: lower end of the interval.
        high: upper end of the interval.
        p: one-sided McNemar p value for the first being better.
        p_reverse: the same for the second being better.
    """

    b: int
    c: int
    gain: float
    low: float
    high: float
    p: float
    p_reverse: float


def paired_gain(b: int, c: int, n: int) -> Gain:
    """Return the gain of one target over another, with an interval that agrees with the test at level `ALPHA`.

    The interval is (b+c)/n (2 theta - 1), theta in the 98 % Clopper-Pearson interval of b/(b+c), given b + c.

    Args:
        b: points the first holds and the second loses.
        c: points the second holds and the first loses.
        n: all points.

    Returns:
        The gain with its interval and both p values.

    Raises:
        InputError: b + c exceeds n, or a count is negative.
    """
    if min(b, c) < 0 or b + c > n or n < 1:
        raise InputError(
            f"paired gain: expected b, c >= 0 and b + c <= n, got b = {b}, c = {c}, n = {n}; check the counts"
        )
    m = b + c
    low, high = (0.0, 0.0) if m == 0 else (m / n * (2 * theta - 1) for theta in _clopper_pearson(b, m))
    return Gain(b, c, (b - c) / n, low, high, mcnemar(b, c), mcnemar(c, b))


def _clopper_pearson(k: int, n: int) -> tuple[float, float]:
    low = 0.0 if k == 0 else float(stats.beta.ppf(ALPHA, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - ALPHA, k + 1, n - k))
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p values, in the order given.

    Args:
        p_values: one per test of the family.

    Returns:
        Adjusted values in [0, 1]; at level alpha they bound the family-wise error.
    """
    m = len(p_values)
    adjusted = [0.0] * m
    running = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


@lru_cache(maxsize=256)
def minimum_detectable_gain(n: int, discordant: float) -> float | None:
    """Return the least gain that the exact test finds with power `POWER` at level `ALPHA`.

    The least d with sum over m of Bin(m; n, psi) P[Bin(m, (psi + d)/(2 psi)) >= k_m] >= 0.8, where k_m is the critical
    value of the test on m discordant points.

    Args:
        n: points.
        discordant: psi = (b + c)/n, the share of discordant points.

    Returns:
        d in (0, psi], or None when even d = psi is not found often enough.

    Complexity:
        O(sqrt(n)) binomial tails per bisection step, 40 steps.
    """
    if discordant <= 0:
        return None
    spread = 8 * sqrt(n * discordant * (1 - discordant)) + 8
    m = np.arange(max(0, int(n * discordant - spread)), min(n, int(n * discordant + spread) + 1) + 1)
    weight = stats.binom.pmf(m, n, discordant)
    # isf gives the least k with P[X > k] <= alpha; the test rejects from k + 1 on.
    critical = stats.binom.isf(ALPHA, m, 0.5) + 1

    def power(d: float) -> float:
        share = min(1.0, (discordant + d) / (2 * discordant))
        return float((weight * stats.binom.sf(critical - 1, m, share)).sum())

    if power(discordant) < POWER:
        return None
    low, high = 0.0, discordant
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
