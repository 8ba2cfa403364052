"""A report's view as Markdown: for a merge request, a wiki, or a terminal."""

import re
from collections.abc import Iterable, Iterator

from service.web import words
from service.web.gallery import listing
from service.web.tables import Table, escape, markdown, table
from service.web.view import Check, Fact, RangeGroup, ReportView


def render(view: ReportView) -> str:
    """Return the whole report; text from outside is escaped, so that it stays text."""
    return "\n".join(block + "\n" for block in _blocks(view))


def _blocks(view: ReportView) -> Iterator[str]:
    verdict = view.verdict
    yield f"# {escape(view.title)}"
    yield escape(view.byline)
    yield f"**{escape(verdict.word)}** {escape(verdict.sentence)}"
    yield f"*{escape(verdict.bound)}*"
    yield f"{escape(verdict.word)}: {escape(verdict.meaning)}"
    if verdict.reasons:
        yield f"Decided by the checks {escape(', '.join(verdict.reasons))}."
    if verdict.warnings:
        yield f"Warnings: {escape(', '.join(verdict.warnings))}."
    yield "## In one table"
    yield markdown(_ranges(view.ranges, view.chance))
    yield "## Accuracy by threat model"
    for threat in view.threats:
        yield f"### {escape(threat.title)}"
        yield escape(threat.sentence)
        yield from (markdown(one.data) for one in threat.figures)
        yield from (markdown(one) for one in (threat.gains, threat.random) if one)
    yield "## Attacks"
    yield markdown(view.attacks)
    yield from (markdown(one) for one in view.further)
    if view.transfer:
        yield "## Transfer"
        yield from (markdown(one.data) for one in view.transfer)
    yield "## Checks"
    yield ", ".join(f"{count} {status}" for status, count in view.tally)
    for family in view.families:
        yield markdown(_checks(family.title, family.checks))
    if view.checks_not_run:
        yield markdown(_checks("Checks that were not run", view.checks_not_run))
    if view.certificates:
        yield "## Certificates"
        yield markdown(view.certificates)
    listed = listing(view.gallery)
    if listed:
        yield "## Gallery"
        yield markdown(listed)
    for title, facts in (("Costs", view.costs), ("What was not run", view.not_run), ("Provenance", view.provenance)):
        if facts:
            yield f"## {title}"
            yield "\n".join(_fact(fact) for fact in facts)
    yield "## Limits"
    yield "\n".join(f"- {escape(limit)}" for limit in view.limits)
    yield _fact(Fact("Report", view.digest, code=True)) + f", {escape(view.schema)}"


def _ranges(groups: Iterable[RangeGroup], chance: float | None) -> Table:
    rows = [(group.title, one.label, one.count, one.value, one.interval) for group in groups for one in group.ranges]
    line = f"; chance {words.percent(chance)}" if chance is not None else ""
    caption = f"Share of images answered correctly, with Wilson 95 % intervals{line}"
    return table(caption, ("<Under", "<Network", "Correct", "Accuracy", "Interval"), rows)


def _checks(caption: str, checks: Iterable[Check]) -> Table:
    rows = [(one.id, one.status, one.rule, _finding(one)) for one in checks]
    return table(caption, ("<Check", "<Status", "<Rule", "<Finding and numbers"), rows)


def _finding(check: Check) -> str:
    remedy = f"To do: {check.remedy}." if check.remedy else ""
    return " · ".join(part for part in (check.reason, check.numbers, remedy) if part)


def _fact(fact: Fact) -> str:
    value = f"`{re.sub(r'[^0-9A-Za-z:._-]', '', fact.value)}`" if fact.code else escape(fact.value)
    return f"- {escape(fact.term)}: {value}"
