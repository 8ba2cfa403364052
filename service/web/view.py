"""A report as a reader meets it: words, tables and charts in order; HTML and Markdown draw the same view."""

from dataclasses import dataclass

from service.web.charts import CurveChart, HeatMap
from service.web.tables import Table


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status word with its meaning, the headline sentences, and the ids of the checks that decided and warned."""

    word: str
    kind: str
    meaning: str
    sentence: str
    bound: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """One proportion with its interval, in words and as positions in percent on a bar from 0 to 100."""

    label: str
    lead: bool
    count: str
    value: str
    interval: str
    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RangeGroup:
    """Proportions under one heading, for instance all networks on clean inputs."""

    title: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its caption, its description in words, and the numbers behind it."""

    chart: CurveChart | HeatMap
    caption: str
    alt: str
    data: Table


@dataclass(frozen=True, slots=True)
class Threat:
    """One threat model: its sentence, its curves, and the paired comparisons."""

    anchor: str
    title: str
    sentence: str
    figures: tuple[Figure, ...]
    gains: Table | None
    random: Table | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One automatic check: PASS, WARN, FAIL or NOT-RUN, with its rule, its numbers and the reason."""

    id: str
    status: str
    rule: str
    numbers: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckFamily:
    """Checks that guard against one kind of error."""

    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside the page: its address (empty where there is none), a label of a word or two, and its words."""

    source: str
    label: str
    alt: str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One attacked input: pictures, how it was made, and who answers what."""

    title: str
    kind: str
    meaning: str
    made: str
    answers: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A term and its value; `code` marks digests and other things to copy."""

    term: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class ReportView:
    """Everything a report says, top to bottom."""

    title: str
    byline: str
    verdict: Verdict
    ranges: tuple[RangeGroup, ...]
    chance: float | None
    threats: tuple[Threat, ...]
    attacks: Table
    further: tuple[Table, ...]
    transfer: tuple[Figure, ...]
    tally: tuple[tuple[str, int], ...]
    families: tuple[CheckFamily, ...]
    checks_not_run: tuple[Check, ...]
    certificates: Table | None
    gallery: tuple[Exhibit, ...]
    costs: tuple[Fact, ...]
    not_run: tuple[Fact, ...]
    provenance: tuple[Fact, ...]
    limits: tuple[str, ...]
    digest: str
    schema: str
