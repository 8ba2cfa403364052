"""Charts as SVG bytes, drawn by matplotlib's Agg figure without pyplot: equal input gives equal bytes.

matplotlib is imported by the functions, not by the module: whoever only serves pages does not load it.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from service.web import words
from service.web.charts import CurveChart, HeatMap, Role, Series
from service.web.figures import curve_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attacks.report import EvaluationReport

LEGEND_LETTERS: Final = 30
EDGE_LETTERS: Final = 16
INK: Final = "#1f2933"
FONT_STACK: Final = b"'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"  # what the reader's machine has
FAINT: Final = "#9aa5b1"
GRID: Final = "#e4e7eb"
SETTINGS: Final[Mapping[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "levelset",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],  # matplotlib ships it: equal layout, hence equal bytes, on every machine
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "path.simplify": False,
}


@dataclass(frozen=True, slots=True)
class Size:
    """The sheet of a chart in inches, and how many columns its legend has."""

    width: float
    height: float
    legend_columns: int


WIDE: Final = Size(7.4, 4.1, 3)
NARROW: Final = Size(4.1, 4.5, 1)


@dataclass(frozen=True, slots=True)
class Stroke:
    """How the line of one role is drawn; no two roles share marker and dash, so grey print stays readable."""

    colour: str
    dash: Any
    marker: str
    width: float
    band: bool


STROKES: Final[Mapping[Role, Stroke]] = {
    Role.ENSEMBLE: Stroke("#0b4f8a", "-", "o", 2.2, True),
    Role.BASE: Stroke("#b3471d", (0, (5, 2)), "s", 1.7, True),
    Role.NOISE_ACCURACY: Stroke("#2d7d5a", (0, (6, 2, 1, 2)), "D", 1.5, True),
    Role.NOISE_NORM: Stroke("#7a4fa3", (0, (3, 2, 1, 2, 1, 2)), "^", 1.5, True),
    Role.INDEPENDENT: Stroke("#8a6d00", (0, (8, 3)), "P", 1.5, True),
    Role.SCRAMBLED: Stroke("#6b7280", (0, (1, 1.6)), "X", 1.5, True),
    Role.CERTIFIED: Stroke("#111827", (0, (4, 1, 1, 1)), "*", 1.3, True),
    Role.MEMBER: Stroke("#8fb3d4", "-", "", 0.7, False),
    Role.OTHER: Stroke("#4b5563", (0, (2, 2)), "v", 1.2, False),
}


def accuracy_curve(chart: CurveChart, size: Size = WIDE) -> bytes:
    """Return the accuracy curves of one threat model as an SVG file, the same bytes for the same chart.

    Args:
        chart: lines with their intervals, single attacks and the chance line.
        size: the sheet; `NARROW` is drawn for telephones.
    """
    with _settings():
        figure = _figure(size)
        axes = figure.add_subplot()
        _frame(axes, chart)
        for mark in chart.raw:
            _draw_raw(axes, mark)
        for series in sorted(chart.series, key=lambda one: list(STROKES).index(one.role), reverse=True):
            _draw_series(axes, series)
        if chart.chance is not None:
            axes.axhline(
                100 * chart.chance, color=INK, linewidth=0.9, linestyle=(0, (1, 3)), zorder=1.5, label="chance"
            )
        _legend(figure, axes, size)
        return _svg(figure)


def accuracy_curve_svg(report: "EvaluationReport") -> bytes:
    """Return the accuracy curves of the report's headline threat model as an SVG file.

    Args:
        report: a finished evaluation.

    Raises:
        ValueError: the report has no results for its headline model.
    """
    head = report.headline
    for model in report.threat_models:
        if (model.name, model.norm) == (head.model, head.norm):
            return accuracy_curve(curve_chart(report, model))
    known = ", ".join(f"{model.name} in {model.norm}" for model in report.threat_models) or "none"
    raise ValueError(f"headline: expected results for {head.model} in {head.norm}, got {known}; evaluate again")


def heat_map(chart: HeatMap) -> bytes:
    """Return a table of rates as an SVG file: dark is low, light is high, each cell carries its number."""
    from matplotlib import colormaps

    with _settings():
        rows, columns = len(chart.rows), len(chart.columns)
        figure = _figure(Size(1.6 + 0.56 * columns, 1.25 + 0.42 * rows, 1))
        axes = figure.add_subplot()
        filled = [[float("nan") if value is None else 100 * value for value in row] for row in chart.values]
        palette = colormaps["cividis"].with_extremes(bad="#eef1f4")
        axes.imshow(filled, cmap=palette, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
        for i, row in enumerate(chart.values):
            for j, value in enumerate(row):
                text, colour = ("\N{EN DASH}", INK) if value is None else (f"{100 * value:.0f}", _on(value))
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8.5)
        across, down = ([_fitted(name, EDGE_LETTERS) for name in names] for names in (chart.columns, chart.rows))
        axes.set_xticks(range(columns), across, rotation=40 if columns > 6 else 0, fontsize=8.5)
        axes.set_yticks(range(rows), down, fontsize=8.5)
        axes.set_xlabel(chart.across)
        axes.set_ylabel(chart.down)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return _svg(figure)


def _fitted(text: str, letters: int) -> str:
    """A long name must not squeeze the chart; the table behind it has the whole one."""
    return text if len(text) <= letters else text[: letters - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _on(value: float) -> str:
    return INK if value > 0.55 else "#ffffff"


@contextmanager
def _settings() -> Iterator[None]:
    from matplotlib import style

    own: dict[Any, Any] = dict(SETTINGS)
    with style.context(["default", own]):  # whatever the user's own settings say
        yield


def _figure(size: Size) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size.width, size.height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr,call-arg]
    return figure


def _svg(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, facecolor="white"
    )
    return buffer.getvalue().replace(b"'DejaVu Sans'", FONT_STACK)


def _frame(axes: "Axes", chart: CurveChart) -> None:
    epsilons = chart.epsilons
    last = epsilons[-1] if epsilons else 1.0
    axes.set_ylim(0, 102)
    axes.set_xlim(-0.02 * last, 1.03 * last)
    axes.set_xticks(list(epsilons), [words.epsilon(value) for value in epsilons])
    axes.set_yticks(range(0, 101, 20), [f"{tick}" for tick in range(0, 101, 20)])
    axes.set_xlabel(f"radius \N{GREEK SMALL LETTER EPSILON} ({words.norm_label(chart.norm)}, input units)")
    axes.set_ylabel("accuracy (%)")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_series(axes: "Axes", series: Series) -> None:
    stroke = STROKES[series.role]
    x = [point.epsilon for point in series.points]
    if stroke.band:
        low = [100 * point.low for point in series.points]
        high = [100 * point.high for point in series.points]
        axes.fill_between(x, low, high, color=stroke.colour, alpha=0.11, linewidth=0)
    axes.plot(
        x,
        [100 * point.value for point in series.points],
        color=stroke.colour,
        linestyle=stroke.dash,
        linewidth=stroke.width,
        marker=stroke.marker,
        markersize=5.2,
        markerfacecolor="white" if series.role is not Role.ENSEMBLE else stroke.colour,
        markeredgewidth=1.3,
        clip_on=False,
        zorder=3,
        label=_fitted(series.label, LEGEND_LETTERS),
    )


def _draw_raw(axes: "Axes", series: Series) -> None:
    axes.plot(
        [point.epsilon for point in series.points],
        [100 * point.value for point in series.points],
        linestyle="none",
        marker="_",
        markersize=9,
        markeredgewidth=1.1,
        color=STROKES[Role.ENSEMBLE].colour,
        alpha=0.75,
        label="one attack alone",
    )


def _legend(figure: "Figure", axes: "Axes", size: Size) -> None:
    handles, labels = axes.get_legend_handles_labels()
    first: dict[str, Any] = {}
    for handle, label in zip(handles, labels, strict=True):
        first.setdefault(label, handle)
    order = [label for label in reversed(first) if label not in ("chance", "one attack alone")]
    order += [label for label in ("one attack alone", "chance") if label in first]
    figure.legend(
        [first[label] for label in order],
        order,
        loc="outside lower center",
        ncols=min(size.legend_columns, len(order)),
        frameon=False,
        fontsize=9,
        handlelength=3.0,
        borderaxespad=0.0,
        columnspacing=1.4,
    )
