"""Pictures of the figures: equal values give equal bytes, and what must be printed is printed.

Seen to fail when: the SVG keeps its date; the hash salt is left out; the horizon is not printed; pyplot is imported;
the grid drops the last row.
"""

import subprocess
import sys
from dataclasses import replace

import pytest

from ensemble.paper import Comparison, Line, Panel, Report, Stroke, Track, TrackName, png, svg
from ensemble.paper.drawing import _grid


def report(full: bool = False, panels: int = 1) -> Report:
    """Return a report with every kind of line."""
    lines = (
        Line("ours", (1.0, 10.0, 100.0), (1.0, 0.1, float("nan")), band=((0.5, 0.05, 0.1), (2.0, 0.2, 0.3))),
        Line("closed form", (1.0, 10.0, 100.0), (1.0, 0.1, 0.01), Stroke.PREDICTED),
        Line("official", (10.0,), (0.3,), Stroke.OFFICIAL),
    )
    panel = Panel("panel", "step", "‖Y − F‖", lines, "log", "log", level=(0.2, "chance"))
    tracks = tuple(Track(name, {"rate": 1}, (panel,) * panels, {"a": 1.0}) for name in TrackName)
    row = Comparison("q", "1", "1", "1", "agrees")
    return Report(3, "a title", "100 steps; official 400", full, tracks, (row,), ("13. a defect",), ("a remark",))


def test_equal_values_give_equal_bytes() -> None:
    """SVG and PNG are the same bytes twice, and differ when a value does."""
    one = report()
    for draw in (svg, png):
        assert draw(one, one.tracks[0]) == draw(one, one.tracks[0])
        assert draw(one, one.tracks[0]) != draw(one, one.tracks[1])
    assert b"<dc:date>" not in svg(one, one.tracks[0])
    assert png(one, one.tracks[0]).startswith(b"\x89PNG")


def test_equal_bytes_in_another_process() -> None:
    """The salt of SVG identifiers does not depend on the process."""
    code = (
        "import sys; from tests.ensemble.paper.test_drawing import report; from ensemble.paper import svg; "
        "one = report(); sys.stdout.buffer.write(svg(one, one.tracks[0])); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    one = report()
    assert shown.stdout == svg(one, one.tracks[0])


def test_every_picture_says_its_horizon_and_track() -> None:
    """A shortened run cannot be taken for the official one."""
    one = report()
    text = svg(one, one.tracks[1]).decode()
    assert "shortened horizon: 100 steps; official 400" in text
    assert "corrected" in text
    assert "chance" in text
    assert "full horizon" in svg(replace(one, full=True), one.tracks[0]).decode()


@pytest.mark.parametrize("panels", range(1, 14))
def test_every_panel_has_a_place(panels: int) -> None:
    """The grid holds all panels and wastes less than a row."""
    rows, columns = _grid(panels)
    assert rows * columns >= panels
    assert (rows - 1) * columns < panels
