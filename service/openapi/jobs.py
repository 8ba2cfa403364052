"""Shapes of jobs, their events and files, and reports."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from service.jobs.states import JobState
from service.openapi.shapes import Notice, Shape

Sha256 = str


class Progress(Shape):
    """How far a job is."""

    shards_total: int | None = Field(description="null until it is planned")
    shards_done: int
    samples_total: int | None
    samples_done: int
    fraction: float = Field(ge=0, le=1)
    eta_seconds: float | None


class JobError(Shape):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


class JobLinks(Shape):
    """Where the rest of a job is."""

    self: str
    events: str
    cancel: str
    report: str | None
    partial: str | None
    artifacts: str
    page: str


class Job(Shape):
    """A job."""

    id: str
    object: Literal["job"]
    type: Literal["evaluate", "generate", "figures"]
    state: JobState
    spec: dict[str, Any] = Field(description="what was asked for, with everything pinned that could change")
    spec_digest: Sha256
    epsilons_255: list[str] = Field(description="the radii as k/255")
    priority: int = Field(ge=0, le=3)
    max_seconds: int | None
    progress: Progress
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    report_id: str | None
    result: dict[str, Any] | None = Field(description="what it made besides a report")
    notices: list[Notice]
    links: JobLinks
    metadata: dict[str, str]


class FileLinks(Shape):
    """Where a file is."""

    self: str


class File(Shape):
    """A file that a job left behind."""

    name: str
    object: Literal["file"]
    sha256: Sha256
    size: int
    media_type: str
    created_at: datetime
    links: FileLinks


class Event(Shape):
    """Something that happened to a job."""

    seq: int = Field(ge=1, description="strictly increasing per job")
    t: datetime
    level: Literal["debug", "info", "warning", "error"]
    kind: Literal["state", "progress", "metric", "log"]
    data: dict[str, Any]


class EventPage(Shape):
    """Events, oldest first."""

    data: list[Event]
    has_more: bool
    next_after: int = Field(description="pass it as `after` for the next page")


class Proportion(Shape):
    """How many points one network has held against one attack so far, with a Wilson interval."""

    attack: str
    target: str
    held: int
    n: int
    value: float | None
    low: float | None
    high: float | None


class PartialReport(Shape):
    """What an evaluation has found so far: provisional."""

    object: Literal["partial_report"]
    provisional: Literal[True]
    complete: Literal[False]
    words: str
    job_id: str
    state: JobState
    shards_done: int
    shards_total: int | None
    report_id: str | None
    attacks: list[Proportion]


class ReportLinks(Shape):
    """Where the report and its job are."""

    self: str
    job: str
    page: str


class ReportEntry(Shape):
    """What is said about a report besides the report itself."""

    id: str
    object: Literal["report"]
    job_id: str
    status: str
    report_digest: Sha256
    summary: dict[str, Any]
    headline: Any
    formats: list[str]
    created_at: datetime
    has_samples: bool
    links: ReportLinks


class Report(Shape):
    """A report; GET /api/v1/schemas/report-1.json is its full schema."""

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: str


class Comparison(Shape):
    """Two reports on the same points, row by row."""

    object: Literal["comparison"]
    words: str
    reports: list[dict[str, Any]]
    same_suite: bool
    suites: list[Any]
    data: dict[str, Any]
    rows: list[dict[str, Any]]
