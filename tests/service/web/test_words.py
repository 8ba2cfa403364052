"""Numbers are written one way, rounded to what they support.

Mutations seen to fail: the factor 100 dropped; the sign of a difference dropped; 255ths preferred for short decimals;
thousands not parted; the bar of a table cell not escaped.
"""

import pytest

from service.web import tables, words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.3, "0.3"),
        (0.2, "0.2"),
        (8 / 255, "8/255"),
        (1 / 255, "1/255"),
        (0.0, "0"),
        (0.25, "0.25"),
        (0.1234, "0.1234"),
    ],
)
def test_radii_read_as_people_write_them(value: float, expected: str) -> None:
    """Short decimals stay, 255ths become fractions, the rest keeps its digits."""
    assert words.epsilon(value) == expected


def test_radii_are_given_in_both_units() -> None:
    """Input units and steps of 1/255 stand side by side, whichever comes first."""
    assert words.epsilon_both(0.3) == "0.3 (76.5/255)"
    assert words.epsilon_both(8 / 255) == "8/255 (0.03137)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.315, "+31.5"), (-0.005, "\N{MINUS SIGN}0.5"), (0.0, "0.0"), (-0.0001, "0.0"), (None, "–")],
)
def test_differences_carry_their_sign(value: float | None, expected: str) -> None:
    """A difference is in points with its sign; nought and what rounds to it has none."""
    assert words.points(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.42, "0.42 s"), (12.34, "12.3 s"), (42.0, "42 s"), (245.0, "4 min 05 s"), (7380.0, "2 h 03 min"), (None, "–")],
)
def test_durations_use_fitting_units(value: float | None, expected: str) -> None:
    """Seconds, minutes and hours, with digits that mean something."""
    assert words.seconds(value).replace(words.NARROW, " ") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(20523, "20 523"), (-1.5, "\N{MINUS SIGN}1.5"), (0.123456, "0.1235"), (True, "yes"), (None, "–")],
)
def test_numbers_keep_four_digits(value: float | None, expected: str) -> None:
    """Counts are whole with thousands apart, measurements have four digits."""
    assert words.number(value).replace(words.NARROW, " ") == expected


def test_shares_and_intervals_are_percentages() -> None:
    """A share has one decimal, an interval both ends, a missing one a dash."""
    assert words.percent(0.485) == f"48.5{words.NARROW}%"
    assert words.interval(0.412, 0.558) == f"[41.2, 55.8]{words.NARROW}%"
    assert words.interval(None, 0.5) == words.percent(None) == "–"
    assert words.p_value(0.0004) == "< 0.001"
    assert words.p_value(0.0312) == "0.031"


def test_values_of_any_depth_fit_on_a_line() -> None:
    """Nested numbers of a check read as names and values."""
    assert words.flat({"label_changes": 0, "right": {"base": 194}, "sizes": [1, 16], "moved": []}) == (
        "label changes 0; right (base 194); sizes 1, 16; moved none"
    )


def test_long_ids_are_cut_where_they_are_random() -> None:
    """A list shows enough of an id to tell it from its neighbours; short ids stay whole."""
    assert words.short_id("job-d07eb01725ab4cb5a2509843397bd386") == "job-d07eb017…"
    assert words.short_id("job-running") == "job-running"


def test_a_table_refuses_ragged_rows() -> None:
    """A row with a missing cell is an error that names table and row."""
    with pytest.raises(ValueError, match="expected 2 cells in every row of table 'numbers', got 1"):
        tables.table("numbers", ("<a", "b"), [("x",)])


def test_markdown_cells_stay_cells() -> None:
    """Bars, tags, emphasis and line ends in a cell are shown, they do not change the table."""
    made = tables.markdown(tables.table("c", ("<a|b", "n"), [("x|y\n<i>*z*</i>", "1")]))
    head, rule, row = made.splitlines()[2:]
    assert rule == "| --- | ---: |"
    assert row == "| x\\|y &lt;i&gt;\\*z\\*&lt;/i&gt; | 1 |"
    assert head.startswith("| a\\|b |")
