"""The cost model: seeded by two measurements, corrected by every execution, never stuck.

Seen to fail: the error put on the slope alone; an outlier taken at its word; rows beyond `max_rows` predicted as one.
"""

import random

import pytest

from service.inference.costs import CLIP, CostModel, retry_after


def test_two_measurements_make_the_line() -> None:
    """Predictions go through both, and larger requests are so many executions."""
    costs = CostModel()
    costs.seed("all", one=0.03, rows=11, many=0.13)
    assert costs.predict("all", 1, max_rows=11) == pytest.approx(0.03)
    assert costs.predict("all", 11, max_rows=11) == pytest.approx(0.13)
    assert costs.predict("all", 6, max_rows=11) == pytest.approx(0.08)
    assert costs.predict("all", 25, max_rows=11) == pytest.approx(2 * 0.13 + 0.05)


def test_it_learns_another_line() -> None:
    """After some executions of mixed sizes the predictions are those of the new machine."""
    costs, rng = CostModel(), random.Random(0)
    costs.seed(None, one=0.5, rows=64, many=0.9)
    for _ in range(400):
        rows = rng.choice([1, 8, 64])
        costs.learn(None, rows, (0.002 * rows + 0.01) * rng.uniform(0.9, 1.1))
    for rows in (1, 8, 64):
        assert costs.predict(None, rows, max_rows=64) == pytest.approx(0.002 * rows + 0.01, rel=0.15)
    assert costs.spread < 0.15


def test_an_outlier_counts_little_and_a_trend_counts() -> None:
    """One suspended execution does not shut the door; a machine that became slow is noticed."""
    costs = CostModel()
    costs.seed(None, one=0.1, rows=2, many=0.2)
    costs.learn(None, 2, 1000.0)
    assert costs.predict(None, 2, max_rows=2) <= 0.2 * CLIP / 2
    for _ in range(60):
        costs.learn(None, 2, 2.0)
    assert costs.predict(None, 2, max_rows=2) == pytest.approx(2.0, rel=0.05)


def test_an_unknown_class_is_as_dear_as_the_dearest() -> None:
    """Nothing known predicts nothing; the first execution of a class scales the dearest line."""
    costs = CostModel()
    assert costs.predict("x", 5, max_rows=8) == 0.0
    costs.seed("base", one=0.01, rows=8, many=0.08)
    costs.seed("all", one=0.1, rows=8, many=0.45)
    assert costs.predict("some", 8, max_rows=8) == pytest.approx(0.45)
    costs.learn("some", 8, 0.09)
    assert costs.predict("some", 8, max_rows=8) == pytest.approx(0.09)
    assert costs.predict("some", 1, max_rows=8) == pytest.approx(0.02)


def test_times_to_come_back_are_whole_and_positive() -> None:
    """At least one second, never earlier than predicted."""
    assert [retry_after(seconds) for seconds in (0.0, 0.2, 1.0, 1.01, 7.9)] == [1, 1, 1, 2, 8]
