"""Rates on boolean arrays: pure functions. `held` means that the target still gives the right answer.

Arrays over epsilons have the shape `[epsilon point]`, epsilons ascending.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.statistics import wilson

Flags = NDArray[np.bool_]

#: A rate with a smaller denominator is not stated.
LEAST_DENOMINATOR = 30


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its counts; value and interval are None where the denominator is too small.

    Attributes:
        k: the numerator.
        n: the denominator.
        value: k/n.
        low: lower end of the Wilson interval.
        high: upper end of it.
    """

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


def rate(k: int, n: int) -> Rate:
    """Return k of n as a rate; null below `LEAST_DENOMINATOR`, never 0 or 100 % of nothing.

    Args:
        k: the numerator.
        n: the denominator.

    Returns:
        The counts, always; value and interval where n is large enough.
    """
    if n < LEAST_DENOMINATOR:
        return Rate(k, n, None, None, None)
    return Rate(k, n, k / n, *wilson(k, n))


def robust_flags(clean: Flags, held: Sequence[Flags]) -> Flags:
    """Return which points survive, at each epsilon, every attack at that epsilon and below.

    Per-example worst case: c_i times the minimum over attacks and e' <= e, never a minimum of means.

    Args:
        clean: `[point]`, right on the clean input.
        held: one `[epsilon point]` per attack, epsilons ascending.

    Returns:
        `[epsilon point]`, falling with epsilon.
    """
    worst = np.logical_and.reduce(list(held))
    flags: Flags = np.logical_and.accumulate(worst, axis=0) & clean
    return flags


def raw_flags(clean: Flags, held: Flags) -> Flags:
    """Return c_i times the verdict of one attack, without nesting over epsilons.

    Args:
        clean: `[point]`.
        held: `[epsilon point]` of one attack.

    Returns:
        `[epsilon point]`.
    """
    return held & clean


def attack_success_rate(clean: Flags, held: Flags) -> Rate:
    """Return the share of initially right points that an attack breaks.

    Args:
        clean: `[point]`, right on the clean input.
        held: `[point]` under the attack at one epsilon.

    Returns:
        Broken and initially right, of initially right.
    """
    return rate(int((clean & ~held).sum()), int(clean.sum()))


def transfer_rate(clean_source: Flags, clean_target: Flags, held_source: Flags, held_target: Flags) -> Rate:
    """Return, of the points right on both and broken on the source, the share broken on the target too.

    Args:
        clean_source: `[point]`.
        clean_target: `[point]`.
        held_source: `[point]` under the examples crafted on the source.
        held_target: `[point]` under the same examples.

    Returns:
        The conditional rate.
    """
    base = clean_source & clean_target & ~held_source
    return rate(int((base & ~held_target).sum()), int(base.sum()))


def transfer_rate_all_right(clean: Sequence[Flags], held_target: Flags) -> Rate:
    """Return, of the points every network answers right, the share broken on the target.

    Args:
        clean: one `[point]` per network.
        held_target: `[point]` under the examples.

    Returns:
        The unconditional counterpart of `transfer_rate`.
    """
    base = np.logical_and.reduce(list(clean))
    return rate(int((base & ~held_target).sum()), int(base.sum()))


def leak_flags(clean: Flags, gradient_held: Sequence[Flags], other_held: Sequence[Flags]) -> Flags:
    """Return the points held by the white-box gradient attacks and lost to a weaker attack in the same ball.

    Args:
        clean: `[point]`.
        gradient_held: one `[epsilon point]` per white-box gradient attack.
        other_held: one `[epsilon point]` per noise, transfer or query attack.

    Returns:
        `[epsilon point]`; both sides nested over epsilons.
    """
    return robust_flags(clean, gradient_held) & ~robust_flags(clean, other_held)


def chance_count(labels: NDArray[np.int64]) -> int:
    """Return how many points the best constant answer gets right.

    Args:
        labels: `[point]`.

    Returns:
        The size of the largest class.
    """
    return int(np.bincount(labels).max())


def discordant(first: Flags, second: Flags) -> tuple[int, int]:
    """Return (b, c): points only the first holds, points only the second holds.

    Args:
        first: `[point]`.
        second: `[point]`.

    Returns:
        The two off-diagonal counts of the paired table.
    """
    return int((first & ~second).sum()), int((second & ~first).sum())


@dataclass(frozen=True, slots=True, eq=False)
class RandomServing:
    """What serving one random member per request is worth, at one epsilon.

    Attributes:
        expected_accuracy: the mean over points of the least share of right members, over the attacks.
        all_members_right: `[point]`, no request can be answered wrong.
        retry: requests -> expected share of points on which at least one of so many independent requests is answered
            wrong.
    """

    expected_accuracy: float
    all_members_right: Flags
    retry: dict[int, float]


#: After how many independent requests an attacker's success is stated.
REQUESTS = (1, 3, 10)


def random_serving(clean: Flags, members: Sequence[Flags], epsilon: int) -> RandomServing:
    """Return the exact expectations over the members, the attack chosen point by point for the least share.

    (1/n) sum_i min_a (1/M) sum_m 1[f_m(x_i(a)) = y_i], the clean input being one of the candidates.

    Args:
        clean: `[member point]`, right on the clean input.
        members: one `[member epsilon point]` per attack.
        epsilon: index of the radius; smaller radii count too.

    Returns:
        Expectation, conservative verdicts and the retry curve 1 - q^r.
    """
    shares = [clean.mean(axis=0), *(flags[:, : epsilon + 1].mean(axis=0).min(axis=0) for flags in members)]
    least = np.minimum.reduce(shares)
    # Shares of M members: exactly 1 means that no member was wrong under any attack.
    retry = {count: float((1 - least**count).mean()) for count in REQUESTS}
    return RandomServing(float(least.mean()), least == 1.0, retry)
