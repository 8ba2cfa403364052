"""Rates against slow loops over points.

Seen to fail with: `robust_flags` without the accumulation over epsilons, without `& clean`, with the minimum of means;
`attack_success_rate` over all points; `transfer_rate` without the condition on the target; `leak_flags` with its sides
swapped; a threshold of 0 in `rate`; `random_serving` with the minimum of means, without the clean input, with larger
radii counted, with members' verdicts joined by "or", with r q in place of q to the power r.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attacks.metrics import (
    LEAST_DENOMINATOR,
    Flags,
    attack_success_rate,
    chance_count,
    discordant,
    leak_flags,
    random_serving,
    rate,
    robust_flags,
    transfer_rate,
    transfer_rate_all_right,
)

POINTS, RUNGS = 50, 3
ROW = arrays(np.bool_, POINTS)
TABLE = arrays(np.bool_, (RUNGS, POINTS))


@given(ROW, st.lists(TABLE, min_size=1, max_size=3))
def test_worst_case_is_taken_point_by_point(clean: Flags, held: list[Flags]) -> None:
    """A point survives at e when it was right and no attack at any e' <= e broke it."""
    found = robust_flags(clean, held)
    for rung in range(RUNGS):
        for point in range(POINTS):
            expected = clean[point] and all(attack[lower][point] for attack in held for lower in range(rung + 1))
            assert found[rung][point] == expected


@given(ROW, st.lists(TABLE, min_size=1, max_size=3))
def test_worst_case_is_never_above_a_single_attack(clean: Flags, held: list[Flags]) -> None:
    """Robust accuracy is at most every raw accuracy, and falls with epsilon."""
    counts = robust_flags(clean, held).sum(axis=1)
    assert all(counts[rung] <= (attack[rung] & clean).sum() for attack in held for rung in range(RUNGS))
    assert all(np.diff(counts) <= 0)


def test_worst_case_is_not_the_minimum_of_means() -> None:
    """Two attacks that break different halves leave nothing, though each leaves half."""
    clean = np.ones(4, dtype=np.bool_)
    first = np.array([[True, True, False, False]])
    assert robust_flags(clean, [first, ~first]).sum() == 0


@given(ROW, ROW)
def test_success_counts_initially_right_points_only(clean: Flags, held: Flags) -> None:
    """The numerator and the denominator leave out points that were wrong from the start."""
    found = attack_success_rate(clean, held)
    assert found.n == sum(clean)
    assert found.k == sum(c and not h for c, h in zip(clean, held, strict=True))


@given(ROW, ROW, ROW, ROW)
def test_transfer_rate_is_conditional(cs: Flags, ct: Flags, hs: Flags, ht: Flags) -> None:
    """Of points right on both and broken on the source, those broken on the target."""
    base = [i for i in range(POINTS) if cs[i] and ct[i] and not hs[i]]
    found = transfer_rate(cs, ct, hs, ht)
    assert (found.k, found.n) == (sum(not ht[i] for i in base), len(base))


@given(st.lists(ROW, min_size=1, max_size=3), ROW)
def test_transfer_rate_all_right_needs_every_network(clean: list[Flags], held: Flags) -> None:
    """The base is the set of points that all networks answer right."""
    base = [i for i in range(POINTS) if all(flags[i] for flags in clean)]
    found = transfer_rate_all_right(clean, held)
    assert (found.k, found.n) == (sum(not held[i] for i in base), len(base))


def test_a_small_denominator_gives_no_rate() -> None:
    """29 points give null with the counts kept; 30 give a rate with its interval."""
    small, enough = rate(0, LEAST_DENOMINATOR - 1), rate(15, LEAST_DENOMINATOR)
    assert (small.k, small.n, small.value, small.low, small.high) == (0, 29, None, None, None)
    assert enough.value == 0.5
    assert enough.low is not None
    assert enough.low < 0.5


def test_a_leak_is_held_by_gradients_and_lost_to_something_weaker() -> None:
    """Only the point that the white box holds and noise breaks is a leak."""
    clean = np.array([True, True, True, False])
    gradient = [np.array([[True, False, True, True]])]
    noise = [np.array([[False, False, True, False]])]
    assert leak_flags(clean, gradient, noise).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 1, 2], 2), ([3, 3, 3], 3)])
def test_chance_is_the_best_constant_answer(labels: list[int], expected: int) -> None:
    """The size of the largest class."""
    assert chance_count(np.array(labels)) == expected


def test_discordant_pairs_are_ordered() -> None:
    """The first count is what only the first holds, the second what only the second holds."""
    first, second = np.array([True, True, False, True]), np.array([False, True, True, False])
    found: Any = discordant(first, second)
    assert found == (2, 1)


MEMBERS = 3


@given(
    arrays(np.bool_, (MEMBERS, POINTS)),
    st.lists(arrays(np.bool_, (MEMBERS, RUNGS, POINTS)), max_size=3),
    st.integers(0, RUNGS - 1),
)
def test_random_serving_is_judged_by_the_exact_expectation(clean: Flags, runs: list[Flags], rung: int) -> None:
    """Point by point the attack, at this radius or below, that leaves the smallest share of right members."""
    shares = []
    for point in range(POINTS):
        candidates = [clean[:, point]] + [run[:, lower, point] for run in runs for lower in range(rung + 1)]
        shares.append(min(sum(right) / MEMBERS for right in candidates))
    found = random_serving(clean, runs, rung)
    assert found.expected_accuracy == pytest.approx(sum(shares) / POINTS)
    assert found.all_members_right.tolist() == [share == 1 for share in shares]
    for count, wrong in found.retry.items():
        assert wrong == pytest.approx(sum(1 - share**count for share in shares) / POINTS)
    assert list(found.retry) == [1, 3, 10]
    assert found.retry[1] == pytest.approx(1 - found.expected_accuracy)
