"""What a reproduced figure is: lines on panels, numbers beside the official ones, and the defects it carries.

A figure exists in two tracks: as published (the official settings with their defects) and corrected. Both are values;
`drawing` turns panels into pictures and nothing here computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class TrackName(StrEnum):
    """Which of the two readings of a figure a result belongs to."""

    AS_PUBLISHED = "as_published"
    CORRECTED = "corrected"


class Stroke(StrEnum):
    """How a line is drawn; the word says what the line stands for."""

    MEASURED = "measured"
    PREDICTED = "predicted"
    OFFICIAL = "official"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel.

    Attributes:
        label: what the legend says.
        x: positions.
        y: values, one per position; NaN leaves a gap.
        stroke: what the line stands for; it decides dash and marker.
        band: lower and upper values per position, or None.
        colour: number of the colour; lines that belong together share one.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    stroke: Stroke = Stroke.MEASURED
    band: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what is shown.
        x_label: words and unit.
        y_label: words and unit.
        lines: drawn in this order.
        x_scale: "linear" or "log", as matplotlib names it.
        y_scale: the same for the other axis.
        level: (value, label) of a horizontal reference line, or None.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_scale: str = "linear"
    y_scale: str = "linear"
    level: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One figure in one track.

    Attributes:
        name: which track.
        settings: every setting of the runs, as JSON values.
        panels: what is drawn.
        numbers: what was measured, as JSON values.
    """

    name: TrackName
    settings: Mapping[str, Any]
    panels: tuple[Panel, ...]
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table that sets official numbers, closed forms and ours side by side.

    Attributes:
        quantity: what is compared.
        official: number of the official run, or a dash where none is known.
        expected: closed form or claim, or a dash.
        ours: what was measured.
        verdict: whether they agree, in words.
    """

    quantity: str
    official: str
    expected: str
    ours: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Report:
    """One reproduced figure.

    Attributes:
        number: number of the figure in the official code's README.
        title: what it shows.
        horizon: how far the runs went against the official ones; printed on every plot.
        full: whether that is the official horizon.
        tracks: as published, and corrected.
        comparisons: official, expected, ours.
        defects: defects of the official code that touch this figure.
        remarks: what a reader must know, our readings of unstated settings included.
    """

    number: int
    title: str
    horizon: str
    full: bool
    tracks: tuple[Track, ...]
    comparisons: tuple[Comparison, ...]
    defects: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and words of the figure as JSON values; panels keep only their lines."""
        return {
            "figure": self.number,
            "title": self.title,
            "horizon": self.horizon,
            "full": self.full,
            "tracks": {
                track.name.value: {
                    "settings": dict(track.settings),
                    "numbers": dict(track.numbers),
                    "panels": [_panel(panel) for panel in track.panels],
                }
                for track in self.tracks
            },
            "comparisons": [
                {name: getattr(row, name) for name in ("quantity", "official", "expected", "ours", "verdict")}
                for row in self.comparisons
            ],
            "defects": list(self.defects),
            "remarks": list(self.remarks),
        }


def verdict(agrees: bool) -> str:
    """Return the word of a comparison."""
    return "agrees" if agrees else "does not agree"


def _panel(panel: Panel) -> dict[str, Any]:
    lines = []
    for line in panel.lines:
        entry: dict[str, Any] = {"label": line.label, "kind": line.stroke.value, "x": _json(line.x), "y": _json(line.y)}
        if line.band is not None:
            entry["low"], entry["high"] = _json(line.band[0]), _json(line.band[1])
        lines.append(entry)
    return {"title": panel.title, "x": panel.x_label, "y": panel.y_label, "lines": lines}


def _json(values: tuple[float, ...]) -> list[float | None]:
    """Return values with six digits; what is not finite, which JSON cannot say, becomes None."""
    return [float(f"{value:.6g}") if abs(value) < float("inf") else None for value in values]
