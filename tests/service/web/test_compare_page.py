"""The page of two reports says what their comparison says, the served network first.

Seen to fail when: losses are set in the tone of gains; the base's rows stand among the served network's; the suites'
difference is not told; bars are not scaled to the widest interval.
"""

import pytest

from service.web.compare_page import MIDDLE, REACH, compare_page
from tests.service.web import samples


def test_rows_are_words_and_places() -> None:
    """A gain above zero is good, one below bad; the widest interval fills the bar."""
    clean, white = compare_page([], comparison=samples.comparison()).rows
    assert (clean.threat, clean.radius, clean.first, clean.tone) == ("Clean accuracy", "–", "95.0\u202f%", "bad")
    assert (white.threat, white.radius, white.gain, white.p) == ("White box", "L∞ 8/255", "+10.0", "0.002")
    assert white.tone == "good"
    assert white.bar.high == pytest.approx(MIDDLE + REACH)
    assert clean.bar.at == pytest.approx(MIDDLE - 0.03 / 0.15 * REACH)


def test_the_served_network_comes_first() -> None:
    """Rows of the base, members and controls stand apart."""
    found = samples.comparison()
    found["rows"].append(found["rows"][0] | {"target": "base"})
    page = compare_page([], comparison=found)
    assert [row.network for row in page.others] == ["base network"]
    assert len(page.rows) == 2


def test_other_suites_are_told() -> None:
    """A gain may be one of the attacks: the page says so, and only then."""
    assert compare_page([], comparison=samples.comparison()).warning == ""
    assert "different suites" in compare_page([], comparison=samples.comparison(same_suite=False)).warning


def test_reports_that_cannot_be_paired_stand_side_by_side() -> None:
    """Without a comparison there are headlines and the reason."""
    page = compare_page([], sides=[samples.report(), samples.report()], problem="other points")
    assert (len(page.sides), page.rows, page.problem) == (2, (), "other points")
