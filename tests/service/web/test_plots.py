"""Charts are honest and the same every time.

Mutations seen to fail: the hash salt dropped; the date kept; mathematics parsed in labels; two roles given one dash and
one marker; the chance line left out; values drawn as shares in place of percent; rows and columns of the heat map
swapped.
"""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from service.web import plots
from service.web.charts import CurveChart, HeatMap, Point, Role, Series
from service.web.figures import role_of
from tests.service.web import reports

SVG = "{http://www.w3.org/2000/svg}"


def chart(**changes: object) -> CurveChart:
    """Return a chart with two lines and a chance line."""
    points = tuple(Point(e, v, v - 0.05, v + 0.05) for e, v in ((0.0, 0.9), (0.1, 0.6), (0.2, 0.3)))
    lower = tuple(Point(p.epsilon, p.value - 0.2, p.low - 0.2, p.high - 0.2) for p in points)
    made = {
        "title": "White box",
        "norm": "linf",
        "series": (
            Series("ensemble", "served ensemble", Role.ENSEMBLE, points),
            Series("base", "base network", Role.BASE, lower),
        ),
        "raw": (Series("ensemble", "served ensemble", Role.ENSEMBLE, points),),
        "chance": 0.1,
    }
    return CurveChart(**(made | changes))  # type: ignore[arg-type]


def texts(svg: bytes) -> list[str]:
    """Return every text of a picture."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("size", [plots.WIDE, plots.NARROW])
def test_equal_charts_give_equal_bytes(size: plots.Size) -> None:
    """Drawing twice gives the same file, without a date, a creator or any other metadata."""
    drawn = plots.accuracy_curve(chart(), size)
    assert drawn == plots.accuracy_curve(chart(), size)
    assert b"metadata" not in drawn
    assert drawn != plots.accuracy_curve(chart(chance=0.2), size)


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    """Another process with another hash seed and a user's own matplotlib settings draws the same file."""
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nlines.linewidth: 9\n")
    code = (
        "import sys; from service.web import plots; from tests.service.web.test_plots import chart;"
        "sys.stdout.buffer.write(plots.accuracy_curve(chart()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout == plots.accuracy_curve(chart())


def test_a_curve_names_its_lines_and_axes() -> None:
    """Legend, axes and ticks are text in the picture: radii as a reader writes them, accuracy in percent."""
    shown = texts(plots.accuracy_curve(chart()))
    for words in ("served ensemble", "base network", "one attack alone", "chance", "accuracy (%)", "0.1", "0.2", "100"):
        assert words in shown, words
    assert "chance" not in texts(plots.accuracy_curve(chart(chance=None)))


def test_a_line_goes_through_its_points() -> None:
    """Heights in the picture are in proportion to the accuracies, zero at the axis."""
    drawn = plots.accuracy_curve(chart(series=chart().series[:1], raw=())).decode()
    heights = {text: y for text, y in ticks(drawn) if text in ("0", "20", "100")}
    path = re.findall(r'<path d="(M [^"]+)"[^>]*stroke: #0b4f8a; stroke-width: 2\.2', drawn)[0]
    ys = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
    unit = (heights["0"] - heights["100"]) / 100
    assert ys[1] - ys[0] == pytest.approx(30 * unit, rel=1e-3)
    assert ys[2] - ys[1] == pytest.approx(30 * unit, rel=1e-3)


def ticks(svg: str) -> list[tuple[str, float]]:
    """Return the labels of the vertical axis with their heights."""
    found = re.findall(r'text-anchor: end[^"]*" x="[\d.]+" y="([\d.]+)"[^>]*>(\d+)</text>', svg)
    return [(text, float(y)) for y, text in found]


def test_no_two_roles_look_alike_without_colour() -> None:
    """Any two kinds of lines differ in marker or dash, so that a grey print can be read."""
    for one, other in itertools.combinations(Role, 2):
        a, b = plots.STROKES[one], plots.STROKES[other]
        assert (a.dash, a.marker) != (b.dash, b.marker), (one, other)


def test_labels_are_never_read_as_mathematics() -> None:
    """Dollar signs, braces and tags in a name are drawn as they are."""
    name = r"$\frac{1}{2}$ <b> & \alpha"
    points = chart().series[0].points
    drawn = plots.accuracy_curve(chart(series=(Series("x", name, Role.OTHER, points),)))
    assert name in texts(drawn)


def test_a_heat_map_shows_every_rate_and_marks_gaps() -> None:
    """Each cell carries its percentage, a missing one a dash; rows run down and columns across."""
    made = HeatMap("Transfer", ("r0", "r1"), ("c0", "c1", "c2"), ((0.0, 0.12, 0.34), (None, 0.56, 1.0)))
    drawn = plots.heat_map(made)
    shown = texts(drawn)
    for words in ("0", "12", "34", "–", "56", "100", "r0", "c2", "judged on", "crafted on"):
        assert words in shown, words
    assert drawn == plots.heat_map(made)
    places = {text: (x, y) for x, y, text in positions(drawn)}
    assert places["12"][1] == pytest.approx(places["34"][1])
    assert places["12"][0] == pytest.approx(places["56"][0])
    assert places["12"][1] < places["56"][1]


def positions(svg: bytes) -> list[tuple[float, float, str]]:
    """Return every text with its place."""
    found = []
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if "x" in element.attrib:
            found.append((float(element.attrib["x"]), float(element.attrib["y"]), element.text or ""))
    return found


def test_the_headline_chart_of_a_report() -> None:
    """`accuracy_curve_svg` draws the headline's threat model, and says so when the report has none."""
    report = reports.sample()
    assert "served ensemble" in texts(plots.accuracy_curve_svg(report))
    with pytest.raises(ValueError, match="white_box in linf"):
        plots.accuracy_curve_svg(report.model_copy(update={"threat_models": []}))


@pytest.mark.parametrize(
    ("target", "role"),
    [
        ("ensemble", Role.ENSEMBLE),
        ("network", Role.ENSEMBLE),
        ("member-11", Role.MEMBER),
        ("weight_noise_equal_norm", Role.NOISE_NORM),
        ("something new", Role.OTHER),
    ],
)
def test_every_network_has_a_role(target: str, role: Role) -> None:
    """Known networks keep their look in every chart, unknown ones get one of their own."""
    assert role_of(target) is role
