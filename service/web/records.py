"""Rows of the pages as values, read from the resources of the API: models, jobs, events, reports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel

from service.web import words

Record = Mapping[str, Any] | BaseModel
"""A resource as the API returns it, or the pydantic model of it."""

TONES: Final = {
    "queued": "",
    "running": "live",
    "pausing": "live",
    "cancelling": "live",
    "paused": "warn",
    "succeeded": "good",
    "failed": "bad",
    "cancelled": "",
    "UNRELIABLE": "bad",
    "INCOMPLETE": "warn",
    "CHECKED": "live",
    "ready": "good",
    "error": "bad",
    "warning": "warn",
}
MEANINGS: Final = {
    "queued": "Written down; waits for a worker.",
    "running": "A worker goes through its shards; a killed worker continues where it stopped.",
    "pausing": "Stops after the shard in flight.",
    "paused": "Stopped; finished shards are kept.",
    "cancelling": "Stops after the shard in flight, for good.",
    "cancelled": "Stopped for good.",
    "succeeded": "The report is written.",
    "failed": "Ended with an error.",
}
ACTIONS: Final = {
    "queued": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "failed": ("retry",),
    "cancelled": ("retry",),
}
FIRST: Final = frozenset({"ensemble", "network", "base"})
OPEN: Final = frozenset({"queued", "running", "pausing", "cancelling"})


@dataclass(frozen=True, slots=True)
class Badge:
    """A word and the tone it is set in; the word alone says everything."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time for machines (RFC 3339) and for people."""

    machine: str
    human: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One stored ensemble."""

    name: str
    version: str
    members: str
    architecture: str
    shape: str
    classes: str
    dataset: str
    cost: str
    created: Moment | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job with its progress in words and as a fraction."""

    id: str
    subject: str
    state: Badge
    meaning: str
    fraction: float
    progress: str
    created: Moment | None
    report_id: str | None
    error_code: str
    error: str
    actions: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]

    @property
    def news(self) -> str:
        """Return what is worth saying aloud: the state and tens of per cent, not every shard."""
        return f"{self.state.text}, {math.floor(10 * self.fraction) * 10} % done. {self.meaning}".strip()

    @property
    def is_open(self) -> bool:
        """Return whether the job may still move without being asked to."""
        return self.state.text in OPEN


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a job's log."""

    seq: int
    at: Moment | None
    kind: Badge
    text: str


@dataclass(frozen=True, slots=True)
class SoFarRow:
    """What one network has held against one attack so far, in words and as places between 0 and 100."""

    attack: str
    network: str
    held: str
    interval: str
    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One written report with its status word and its headline."""

    id: str
    status: Badge
    subject: str
    headline: str
    created: Moment | None


def plain(record: Record) -> Mapping[str, Any]:
    """Return the record as a mapping of JSON values."""
    return record.model_dump(mode="json") if isinstance(record, BaseModel) else record


def badge(text: str) -> Badge:
    """Return the word with its tone; the status of a report may carry a tail (`CHECKED, 3 warnings`)."""
    return Badge(text, TONES.get(text.partition(",")[0], ""))


def moment(value: object) -> Moment | None:
    """Return the time in UTC from RFC 3339 text, a datetime or milliseconds since the epoch; None for none of them."""
    at: datetime | None = None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return None
    elif isinstance(value, datetime):
        at = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        at = datetime.fromtimestamp(value / 1000, UTC)
    if at is None:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return Moment(at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M:%S UTC"))


def model_row(record: Record) -> ModelRow:
    """Return the row of a stored ensemble from its description in the model repository."""
    model = plain(record)
    shape = model.get("input_shape")
    return ModelRow(
        name=str(model.get("name", words.DASH)),
        version=_text(model.get("version")),
        members=_text(model.get("members")),
        architecture=_text(model.get("architecture")),
        shape=" × ".join(str(size) for size in shape) if isinstance(shape, Sequence) else words.DASH,
        classes=_text(model.get("num_classes")),
        dataset=_text(model.get("dataset")),
        cost=f"{model['cost_share']:.2f} × base" if model.get("cost_share") else words.DASH,
        created=moment(model.get("created_at")),
    )


def job_row(record: Record) -> JobRow:
    """Return the row of a job from its resource: `{id, state, spec, progress, error, report_id, ...}`."""
    job = plain(record)
    spec, error = job.get("spec") or {}, job.get("error") or {}
    state = str(job.get("state", "unknown"))
    fraction, progress = _progress(job.get("progress") or {}, state)
    return JobRow(
        id=str(job.get("id", words.DASH)),
        subject=subject(spec) or str(job.get("type", "job")),
        state=badge(state),
        meaning=MEANINGS.get(state, ""),
        fraction=fraction,
        progress=progress,
        created=moment(job.get("created_at")),
        report_id=job.get("report_id"),
        error_code=str(error.get("code", "error")),
        error=str(error.get("message", "")) if error else "",
        actions=ACTIONS.get(state, ()),
        facts=tuple(_facts(job, spec)),
    )


def event_row(record: Record) -> EventRow:
    """Return the line of one event: `{seq, t, level, kind, data}`."""
    event = plain(record)
    level, kind = str(event.get("level", "info")), str(event.get("kind", "log"))
    shown = Badge(kind, TONES.get(level, "live" if kind == "state" else ""))
    return EventRow(int(event.get("seq", 0)), moment(event.get("t")), shown, _event_text(event.get("data") or {}))


def so_far_rows(record: Record) -> list[SoFarRow]:
    """Return the rows of a partial report: `{attacks: [{attack, target, held, n, value, low, high}]}`.

    Only the served network and the base are shown: members and controls wait for the report.
    """
    return [
        SoFarRow(
            attack=str(row["attack"]),
            network=words.target_label(str(row["target"])),
            held=f"{row['held']} of {row['n']}",
            interval=words.interval(row["low"], row["high"]),
            at=100 * float(row["value"]),
            low=100 * float(row["low"]),
            high=100 * float(row["high"]),
        )
        for row in plain(record).get("attacks", ())
        if row["target"] in FIRST and row["n"]
    ]


def report_row(record: Record) -> ReportRow:
    """Return the row of a report from its resource: `{id, status, summary, created_at}`."""
    report = plain(record)
    status = report.get("status", "unknown")
    status = status.get("value", "unknown") if isinstance(status, Mapping) else status
    summary = report.get("summary") or report.get("headline") or {}
    return ReportRow(
        id=str(report.get("id", words.DASH)),
        status=badge(str(status)),
        subject=subject(summary) if isinstance(summary, Mapping) else "",
        headline=_headline(summary),
        created=moment(report.get("created_at")),
    )


def subject(spec: Mapping[str, Any]) -> str:
    """Return what a job judges in one line: `digits on 200 images of digits (test), L∞ ≤ 0.3, quick`."""
    data, threat, suite = spec.get("data") or {}, spec.get("threat") or {}, spec.get("suite") or {}
    parts = [str(spec["target"])] if "target" in spec else []
    if "name" in data:
        amount = f"{data['n']} images of " if data.get("n") else ""
        parts.append(f"on {amount}{data['name']}{' (' + data['split'] + ')' if data.get('split') else ''}")
    text = " ".join(parts)
    if threat.get("epsilons"):
        text += f", {words.norm_label(str(threat.get('norm', '')))} ≤ {words.epsilon(max(threat['epsilons']))}"
    return text + (f", {suite['name']}" if suite.get("name") else "")


def _text(value: object) -> str:
    return words.DASH if value is None or value == "" else str(value)


def _progress(progress: Mapping[str, Any], state: str) -> tuple[float, str]:
    done, total = progress.get("shards_done") or 0, progress.get("shards_total")
    fraction = progress.get("fraction")
    if fraction is None:
        fraction = done / total if total else 0.0
    if state == "succeeded":
        fraction = 1.0
    text = f"{done} of {total} shards" if total else "not planned yet"
    eta = progress.get("eta_seconds")
    if eta and state in OPEN:
        text += f"{_rate(done, float(eta), float(fraction))}, about {words.seconds(max(1.0, round(float(eta))))} left"
    return min(1.0, max(0.0, float(fraction))), text


def _rate(done: int, eta: float, fraction: float) -> str:
    """Return the shards a minute that the time left was told from; nothing where there is no pace yet."""
    elapsed = eta * fraction / (1 - fraction) if 0 < fraction < 1 else 0.0
    return f", {60 * done / elapsed:.3g} a minute" if done and elapsed > 0 else ""


def _facts(job: Mapping[str, Any], spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [(_term(name), _flat(value)) for name, value in spec.items() if value not in (None, {}, [], "")]
    for name in ("attempt", "created_at", "started_at", "finished_at"):
        at = moment(job.get(name)) if name.endswith("_at") else None
        if job.get(name) is not None:
            facts.append((_term(name.removesuffix("_at")), at.human if at else str(job[name])))
    return facts + [(f"Metadata: {name}", _flat(value)) for name, value in (job.get("metadata") or {}).items()]


def _term(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _flat(value: object) -> str:
    if isinstance(value, Mapping):
        named = [f"{name} {_flat(inner)}" for name, inner in value.items() if inner not in (None, {}, [])]
        return "; ".join(named)
    if isinstance(value, list | tuple):
        return ", ".join(_flat(inner) for inner in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _event_text(data: Mapping[str, Any]) -> str:
    if "message" in data:
        rest = {name: value for name, value in data.items() if name != "message"}
        return f"{data['message']}{' (' + _flat(rest) + ')' if rest else ''}"
    if "shards_done" in data:
        title = f": {data['title']}" if data.get("title") else ""
        known = ", known already" if data.get("cached") else ""
        return f"shard {data['shards_done']} of {data.get('shards_total', '?')}{title}{known}"
    if "to" in data:
        return f"{data['from']} → {data['to']}" if data.get("from") else str(data["to"])
    return _flat(data)


def _headline(summary: Mapping[str, Any] | str) -> str:
    if isinstance(summary, str):
        return summary
    for name in ("sentence", "headline"):
        if isinstance(summary.get(name), str):
            return str(summary[name])
    inner = summary.get("headline")
    head = inner if isinstance(inner, Mapping) else summary
    robust, clean = _share(head.get("robust_accuracy")), _share(head.get("clean_accuracy"))
    parts = [f"keeps {words.percent(robust)}"] if robust is not None else []
    if head.get("epsilon") is not None:
        parts.append(f"at {words.norm_label(str(head.get('norm', '')))} {words.epsilon(float(head['epsilon']))}")
    if head.get("model"):
        parts.append(f"({words.threat_title(str(head['model'])).lower()})")
    base = _share(head.get("base_robust_accuracy"))
    if parts and base is not None:
        parts[-1:] = [f"{parts[-1]},", f"base {words.percent(base)}"]
    if clean is not None:
        parts = [*parts[:-1], *(f"{part};" for part in parts[-1:]), f"clean {words.percent(clean)}"]
    text = " ".join(parts)
    return f"{text}. {head['outcome']}" if text and head.get("outcome") else text


def _share(value: object) -> float | None:
    if isinstance(value, Mapping):
        return value["k"] / value["n"] if value.get("n") else None
    return float(value) if isinstance(value, int | float) else None
