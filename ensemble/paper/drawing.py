"""Tracks as pictures: SVG bytes that are equal for equal input, and PNG, without pyplot and without global state."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil, nan
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from ensemble.paper.values import Line, Panel, Report, Stroke, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST: Final = 4  # columns
SMALL: Final = (3.3, 2.7)  # inches of a panel
SIZES: Final[Mapping[int, tuple[float, float]]] = {1: (7.5, 4.2), 2: (5.2, 3.8), 3: (3.8, 2.9)}
LETTERS: Final = 11  # of the title, per inch
INK: Final = "#1f2933"
GRID: Final = "#e4e7eb"
COLOURS: Final = ("#0b4f8a", "#b3471d", "#2d7d5a", "#7a4fa3", "#8a6d00", "#6b7280", "#c2185b")
DASHES: Final[Mapping[Stroke, Any]] = {
    Stroke.MEASURED: "-",
    Stroke.PREDICTED: (0, (4, 2)),
    Stroke.OFFICIAL: "none",
}
MARKERS: Final[Mapping[Stroke, str]] = {Stroke.MEASURED: "", Stroke.PREDICTED: "", Stroke.OFFICIAL: "X"}
TICKS: Final = 5  # intervals of a linear axis, at most
FEW: Final = 15  # lines of so few points show them
SETTINGS: Final[Mapping[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "levelset",
    "font.family": ["DejaVu Sans"],  # matplotlib ships it: equal layout on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "path.simplify": True,
}


def svg(report: Report, track: Track) -> bytes:
    """Return the picture of one track as an SVG file, the same bytes for the same values.

    Args:
        report: its number, title and horizon are printed on the picture.
        track: whose panels are drawn.
    """
    with _settings():
        return _saved(_figure(report, track), "svg", {"Date": None, "Creator": None, "Format": None, "Type": None})


def png(report: Report, track: Track) -> bytes:
    """Return the picture of one track as a PNG file.

    Args:
        report: its number, title and horizon are printed on the picture.
        track: whose panels are drawn.
    """
    with _settings():
        return _saved(_figure(report, track), "png", {"Software": None})


@contextmanager
def _settings() -> Iterator[None]:
    from matplotlib import style

    own: dict[Any, Any] = dict(SETTINGS)
    with style.context(["default", own]):  # whatever the user's own settings say
        yield


def _saved(figure: "Figure", kind: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=110, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def _figure(report: Report, track: Track) -> "Figure":
    from matplotlib.figure import Figure

    rows, columns = _grid(len(track.panels))
    width, height = SIZES.get(columns, SMALL)
    figure = Figure(figsize=(width * columns, height * rows + 0.9), layout="constrained", facecolor="white")
    title = f"Figure {report.number}, {track.name.value.replace('_', ' ')}: {report.title}"
    horizon = f"{'full' if report.full else 'shortened'} horizon: {report.horizon}"
    lines = [part for text in (title, horizon) for part in wrap(text, int(width * columns * LETTERS))]
    figure.suptitle("\n".join(lines), fontsize=10)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, track.panels, strict=False):
        axes.set_visible(True)
        _draw(axes, panel)
    return figure


def _grid(panels: int) -> tuple[int, int]:
    """Return (rows, columns) with the fewest empty places, the widest of these."""
    if panels <= WIDEST:
        return 1, panels
    columns = min(range(WIDEST, 2, -1), key=lambda c: -panels % c)
    return ceil(panels / columns), columns


def _draw(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for line in panel.lines:
        _draw_line(axes, line, positive=panel.y_scale == "log")
    if panel.level is not None:
        axes.axhline(panel.level[0], color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=panel.level[1])
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_xscale(panel.x_scale)
    axes.set_yscale(panel.y_scale)
    for axis, scale in ((axes.xaxis, panel.x_scale), (axes.yaxis, panel.y_scale)):
        if scale == "linear":  # few and whole numbers: six digits must fit side by side
            axis.set_major_locator(MaxNLocator(TICKS, integer=axis is axes.xaxis and _whole(panel)))
            axis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    axes.legend(list(reversed(first.values())), list(reversed(first)), fontsize=7, framealpha=0.6, edgecolor="none")


def _whole(panel: Panel) -> bool:
    return all(float(x).is_integer() for line in panel.lines for x in line.x)


def _draw_line(axes: "Axes", line: Line, *, positive: bool) -> None:
    colour = INK if line.stroke is Stroke.PREDICTED else COLOURS[line.colour % len(COLOURS)]
    marker = MARKERS[line.stroke] or ("o" if line.stroke is Stroke.MEASURED and len(line.x) <= FEW else "")
    if line.band is not None:
        axes.fill_between(line.x, line.band[0], line.band[1], color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        line.x,
        [y if y > 0 or not positive else nan for y in line.y],  # a zero has no place on a logarithmic axis
        color=colour,
        linestyle=DASHES[line.stroke],
        linewidth=1.0 if line.stroke is Stroke.PREDICTED else 1.8,
        marker=marker,
        markersize=4,
        label=line.label,
    )
