"""The figures of the paper as one HTML page: pictures, and official numbers, closed forms and ours side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.web.rendering import environment, report_style
from service.web.tables import Table, table

if TYPE_CHECKING:
    from ensemble.paper import Report, Track

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
TITLES: Mapping[str, str] = {"as_published": "As published", "corrected": "Corrected"}


@dataclass(frozen=True, slots=True)
class Plate:
    """One picture with the settings it was made with."""

    title: str
    picture: str
    alt: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One figure on the page."""

    number: int
    title: str
    horizon: str
    full: bool
    plates: tuple[Plate, ...]
    comparisons: Table
    defects: tuple[str, ...]
    remarks: tuple[str, ...]


def picture_name(report: "Report", track: "Track", kind: str) -> str:
    """Return the file name of a picture, e.g. `figure3-corrected.svg`."""
    return f"figure{report.number}-{track.name.value}.{kind}"


def render(reports: "Sequence[Report]", missing: Mapping[int, str]) -> str:
    """Return the page, which shows pictures that lie beside it.

    Args:
        reports: the figures, in order.
        missing: figures that are not reproduced, with the reason.
    """
    return environment().get_template("figures.html.j2").render(
        sections=[_section(report) for report in reports], missing=missing, policy=POLICY, style=report_style()
    )  # fmt: skip


def _section(report: "Report") -> Section:
    rows = [(row.quantity, row.official, row.expected, row.ours, row.verdict) for row in report.comparisons]
    titles = ("<Quantity", "<Official", "<Closed form or claim", "<Ours", "<Verdict")
    return Section(
        report.number,
        report.title,
        report.horizon,
        report.full,
        tuple(_plate(report, track) for track in report.tracks),
        table(f"Figure {report.number}: official numbers, closed forms and ours", titles, rows),
        report.defects,
        report.remarks,
    )


def _plate(report: "Report", track: "Track") -> Plate:
    title = TITLES[track.name.value]
    panels = ", ".join(panel.title for panel in track.panels)
    settings = tuple((name, _plain(value)) for name, value in track.settings.items())
    alt = f"Figure {report.number}, {title.lower()}: {panels}. The numbers are in the table below and in figures.json."
    return Plate(title, picture_name(report, track, "svg"), alt, settings)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
