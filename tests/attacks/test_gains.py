"""Which word a comparison allows.

Seen to fail with: the raw p value in place of Holm's; the mdg ignored; VOID not first; LOSS read from the wrong tail;
no mdg explained by n where it is the discordant points that are few.
"""

import pytest

from attacks.gains import HIGHER, LOSS, NO_CLAIM, VOID, Comparison, judge, outcome_of
from attacks.statistics import minimum_detectable_gain, paired_gain


def _comparison(over: str, outcome: str) -> Comparison:
    return Comparison(0, "stolen_base", 0, over, paired_gain(0, 0, 100), 1.0, 0.05, outcome)


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
