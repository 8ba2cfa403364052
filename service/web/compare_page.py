"""Two reports side by side: their headlines, and where they judge the same points the paired difference, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.web import words
from service.web.forms import Choice
from service.web.records import Record, ReportRow, plain, report_row

MIDDLE: Final = 88.0  # of a bar, in its own units
REACH: Final = 80.0  # units of the widest interval of the page
SERVED: Final = ("ensemble", "network")


@dataclass(frozen=True, slots=True)
class Bar:
    """The places of a gain and its interval on a line with zero in the middle, the same for all rows of a page."""

    low: float
    at: float
    high: float


@dataclass(frozen=True, slots=True)
class GainRow:
    """One row of the comparison in words."""

    threat: str
    radius: str
    network: str
    first: str
    second: str
    gain: str
    interval: str
    p: str
    bar: Bar
    tone: str


@dataclass(frozen=True, slots=True)
class ComparePage:
    """What the page offers and shows.

    Attributes:
        options: reports that may be chosen.
        chosen: ids of the two.
        sides: their headlines; empty until both are chosen.
        problem: why they cannot be paired, or what is wrong with the request.
        warning: what to look at before reading a gain as one of the networks.
        points: what both were judged on.
        rows: of the paired comparison, those of the served ensemble or network.
        others: its rows of every other network.
        words: how to read the rows.
    """

    options: tuple[Choice, ...]
    chosen: tuple[str, str]
    sides: tuple[ReportRow, ...]
    problem: str
    warning: str
    points: str
    rows: tuple[GainRow, ...]
    others: tuple[GainRow, ...]
    words: str


def compare_page(
    reports: Sequence[Record],
    *,
    chosen: tuple[str, str] = ("", ""),
    sides: Sequence[Record] = (),
    comparison: Mapping[str, Any] | None = None,
    problem: str = "",
) -> ComparePage:
    """Return the page.

    Args:
        reports: resources of the API that may be chosen, newest first.
        chosen: ids of the two reports.
        sides: the resources of the two.
        comparison: what `GET /api/v1/reports/{id}:compare` answers.
        problem: why there is none.
    """
    found = comparison or {}
    data = found.get("data") or {}
    same = found.get("same_suite", True)
    rows = found.get("rows", ())
    widest = max((abs(float(row[end])) for row in rows for end in ("low", "high")), default=1.0) or 1.0
    return ComparePage(
        options=tuple(_option(plain(report)) for report in reports),
        chosen=chosen,
        sides=tuple(report_row(report) for report in sides),
        problem=problem,
        warning="" if same else "The two reports ran different suites: a gain may be one of the attacks.",
        points=f"{data['n']} images of {data['name']} ({data['split']})" if data else "",
        rows=tuple(_row(row, widest) for row in rows if row["target"] in SERVED),
        others=tuple(_row(row, widest) for row in rows if row["target"] not in SERVED),
        words=str(found.get("words", "")).replace("`", ""),
    )


def _option(report: Mapping[str, Any]) -> Choice:
    row = report_row(report)
    written = row.created.human if row.created else words.DASH
    parts = (words.short_id(row.id), written, row.status.text, row.subject)  # what tells two apart comes first
    return Choice(row.id, " · ".join(part for part in parts if part), {})


def _row(row: Mapping[str, Any], widest: float) -> GainRow:
    gain, low, high = float(row["gain"]), float(row["low"]), float(row["high"])
    clean = row["knowledge"] == "clean"
    tone = "good" if low > 0 else "bad" if high < 0 else ""
    return GainRow(
        threat="Clean accuracy" if clean else words.threat_title(row["knowledge"]),
        radius=words.DASH if clean else f"{words.norm_label(row['norm'])} {words.epsilon(float(row['epsilon']))}",
        network=words.target_label(row["target"]),
        first=words.percent(row["first"] / row["n"]),
        second=words.percent(row["second"] / row["n"]),
        gain=words.points(gain),
        interval=f"{words.points(low)} to {words.points(high)}",
        p=f"{row.get('p_holm', row['p']):.2g}",
        bar=Bar(*(MIDDLE + REACH * value / widest for value in (low, gain, high))),
        tone=tone,
    )
