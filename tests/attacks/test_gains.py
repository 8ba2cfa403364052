"""Which word a comparison allows.

Seen to fail with: the raw p value in place of Holm's; the mdg ignored; VOID not first; LOSS read from the wrong tail;
no mdg explained by n where it is the discordant points that are few; GAIN from four draws, from a least gain of nought,
without equal-accuracy noise, or by the mean over draws; equal-norm noise that decides for a gain.
"""

import pytest

from attacks.gains import HIGHER, LEAST_DRAWS, LOSS, NO_CLAIM, NOT_COMPARED, VOID, Comparison, judge, outcome_of
from attacks.statistics import minimum_detectable_gain, paired_gain


def _comparison(over: str, outcome: str, per_draw: tuple[float, ...] = (0.1,)) -> Comparison:
    return Comparison(0, "stolen_base", 0, over, paired_gain(0, 0, 100), 1.0, 0.05, outcome, per_draw)


@pytest.mark.parametrize(
    ("b", "c", "p_holm", "mdg", "void", "expected"),
    [
        (40, 0, 1e-9, 0.05, False, HIGHER),
        (40, 0, 1e-9, 0.05, True, VOID),
        (40, 0, 0.02, 0.05, False, "NO DETECTABLE GAIN (mdg = 5.0 points)"),
        (40, 0, 1e-9, 0.5, False, "NO DETECTABLE GAIN (mdg = 50.0 points)"),
        (0, 0, 1.0, None, False, "NO DETECTABLE GAIN (mdg = none: no point tells the two apart)"),
        (1, 0, 0.5, None, False, "NO DETECTABLE GAIN (mdg = none: 1 discordant point is too few for the test)"),
        (3, 1, 0.3, None, False, "NO DETECTABLE GAIN (mdg = none: 4 discordant points are too few for the test)"),
        (0, 40, 1.0, 0.05, False, LOSS),
        (5, 5, 1.0, 0.05, False, "NO DETECTABLE GAIN (mdg = 5.0 points)"),
    ],
)
def test_a_word_for_each_comparison(
    b: int, c: int, p_holm: float, mdg: float | None, void: bool, expected: str
) -> None:
    """HIGHER needs the adjusted test, the mdg, and not being void; LOSS is the reverse test."""
    assert judge(paired_gain(b, c, 200), p_holm, mdg, void=void) == expected


@pytest.mark.parametrize("n", [100, 10_000])
def test_without_an_mdg_the_discordant_points_are_few(n: int) -> None:
    """The sentence is true: whatever n, no mdg means few discordant points, and many of them give one."""
    assert minimum_detectable_gain(n, 5 / n) is None
    assert minimum_detectable_gain(n, 20 / n) is not None


@pytest.mark.parametrize(
    ("base", "noise", "expected"),
    [
        (HIGHER, HIGHER, NO_CLAIM),
        (HIGHER, LOSS, LOSS),
        (VOID, VOID, VOID),
        ("NO DETECTABLE GAIN (mdg = 5.0 points)", HIGHER, "NO DETECTABLE GAIN (mdg = 5.0 points)"),
    ],
)
def test_the_outcome_of_a_model_is_its_weakest_comparison(base: str, noise: str, expected: str) -> None:
    """One baseline that is not beaten decides; beating both still claims nothing without equal-accuracy noise."""
    found = outcome_of([_comparison("base", base), _comparison("weight_noise_equal_norm", noise)])
    assert found == expected


@pytest.mark.parametrize(
    ("base", "noise", "expected"),
    [
        ((0.1,) * LEAST_DRAWS, (0.1, 0.1, 0.1, 0.1, 0.02), "GAIN (at least 2.0 points over 5 group draws)"),
        ((0.1,) * (LEAST_DRAWS - 1), (0.1,) * LEAST_DRAWS, "NO CLAIM (group draws judged: 4, needed: 5)"),
        ((0.9, 0.9, 0.9, 0.9, 0.0), (0.1,) * LEAST_DRAWS, "NO CLAIM (the least gain over 5 group draws is 0.0 points)"),
        ((0.9, 0.9, 0.9, 0.9, -0.1), (0.1,) * 5, "NO CLAIM (the least gain over 5 group draws is -10.0 points)"),
    ],
)
def test_a_gain_needs_every_draw(base: tuple[float, ...], noise: tuple[float, ...], expected: str) -> None:
    """Both decisive baselines HIGHER, five draws, and the least of their gains above nought."""
    found = outcome_of([_comparison("base", HIGHER, base), _comparison("weight_noise_equal_accuracy", HIGHER, noise)])
    assert found == expected


def test_equal_norm_noise_can_lose_a_claim_but_not_win_it() -> None:
    """A straw man decides nothing for the target; being worse than it is a loss all the same."""
    draws = (0.1,) * LEAST_DRAWS
    decisive = [_comparison("base", HIGHER, draws), _comparison("weight_noise_equal_accuracy", HIGHER, draws)]
    undecided = _comparison("weight_noise_equal_norm", "NO DETECTABLE GAIN (mdg = 5.0 points)")
    assert outcome_of([*decisive, undecided]).startswith("GAIN")
    assert outcome_of([*decisive, _comparison("weight_noise_equal_norm", LOSS)]) == LOSS
    assert outcome_of([decisive[0], _comparison("weight_noise_equal_norm", HIGHER, draws)]) == NO_CLAIM


def test_what_was_not_compared_is_not_an_outcome() -> None:
    """Queries to the target alone say nothing about a gain."""
    assert outcome_of([]) == NOT_COMPARED
