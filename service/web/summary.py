"""The top of a report: title, verdict and the one table of who keeps how much."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from service.web import words
from service.web.charts import Role
from service.web.figures import role_of
from service.web.view import Range, RangeGroup, Verdict

if TYPE_CHECKING:
    from attacks.report import EvaluationReport
    from attacks.schema import Proportion, ThreatModelResult

MEANINGS: Final = {
    "UNRELIABLE": "A check of the evaluation itself failed. Do not use these numbers.",
    "INCOMPLETE": "Checks that a statement needs were not run or did not pass. The numbers may be read, not claimed.",
    "CHECKED": "Every required check ran and passed. Other attacks may still do better.",
}
MODES: Final = {
    "prob": "mean of the members' probabilities",
    "logit": "mean of the members' logits",
    "vote": "majority vote of the members",
    "random_member": "one random member per request",
}


def title(report: "EvaluationReport") -> str:
    """Return what was evaluated on what, in a few words."""
    members = report.subject.members
    subject = f"A symmetry ensemble of {members} members" if members > 1 else "A single network"
    return f"{subject} under attack, on {report.data.name}"


def byline(report: "EvaluationReport") -> str:
    """Return size, suite, serving mode and largest radius in one line."""
    data, head = report.data, report.headline
    parts = [
        f"{words.number(data.n)} images of the {data.split} split ({data.encoding})",
        f"suite {report.suite.name}, version {report.suite.version}",
        f"served as {MODES.get(report.subject.mode, report.subject.mode)}",
        *([] if report.subject.datatype == "FP32" else [f"inputs sent as {report.subject.datatype}"]),
        f"headline {words.norm_label(head.norm)} ≤ {words.epsilon_both(head.epsilon)}",
    ]
    return " · ".join(parts)


def verdict(report: "EvaluationReport") -> Verdict:
    """Return status, headline sentence and the checks behind the status.

    The sentences are the report's own; the status that opens the headline is set apart, to be drawn in front of it.
    """
    status, head = report.status, report.headline
    return Verdict(
        word=status.label,
        kind=status.value.lower() if status.value in MEANINGS else "incomplete",
        meaning=MEANINGS.get(status.value, ""),
        sentence=head.sentence.removesuffix(head.limits).removeprefix(f"[{status.label}]").strip(),
        bound=head.limits,
        reasons=tuple(status.reasons),
        warnings=tuple(check.id for check in report.checks if check.status == "WARN"),
    )


def ranges(report: "EvaluationReport") -> tuple[RangeGroup, ...]:
    """Return who keeps how much: on clean inputs, then per threat model at its largest radius, the headline first."""
    clean = [(item.target, item.clean_accuracy) for item in report.clean]
    groups = [RangeGroup("Clean inputs", _rows(report, clean))]
    head = (report.headline.model, report.headline.norm)
    models = sorted(report.threat_models, key=lambda one: (one.name, one.norm) != head)
    return tuple(groups + [_group(report, model) for model in models if model.epsilons])


def _group(report: "EvaluationReport", model: "ThreatModelResult") -> RangeGroup:
    last = max(model.epsilons)
    results = [(item.target, item.robust_accuracy) for item in model.results if item.epsilon == last]
    heading = f"{words.threat_title(model.name)}, {words.norm_label(model.norm)} ≤ {words.epsilon(last)}"
    return RangeGroup(heading, _rows(report, results))


def _rows(report: "EvaluationReport", results: Iterable[tuple[str, "Proportion"]]) -> tuple[Range, ...]:
    """Served network first, then base, the weakest member in the place of all, then the controls."""
    known = dict(results)
    lead = report.headline.target
    members = [name for name in known if role_of(name) is Role.MEMBER]
    rows = [_range(words.target_label(lead), known[lead], lead=True)] if lead in known else []
    rows += [_range(words.target_label("base"), known["base"])] if "base" in known else []
    if members:
        weakest = min(members, key=lambda name: known[name].k)
        rows.append(_range(f"weakest of {len(members)} members ({words.target_label(weakest)})", known[weakest]))
    others = [name for name in known if name not in (lead, "base") and name not in members]
    return tuple(rows + [_range(words.target_label(name), known[name]) for name in others])


def _range(label: str, of: "Proportion", *, lead: bool = False) -> Range:
    value = of.value if of.value is not None else (of.k / of.n if of.n else 0.0)
    low, high = (value if end is None else end for end in (of.low, of.high))
    return Range(
        label=label,
        lead=lead,
        count=f"{of.k} of {of.n}",
        value=words.percent(of.value),
        interval=words.interval(of.low, of.high),
        at=100 * value,
        low=100 * low,
        high=100 * high,
    )
