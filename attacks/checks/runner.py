"""Runs every check of the table; one without code, or for another serving mode, is NOT-RUN with its reason."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attacks.checks import comparison, measurement, record, strength, symmetry
from attacks.checks.outcome import Check, Outcome, not_applicable, not_run
from attacks.checks.table import TABLE, Rule
from attacks.findings import Findings
from attacks.gains import Comparison

Judge = Callable[[Findings, tuple[Comparison, ...]], Outcome]

_CODE: Mapping[str, Judge] = MappingProxyType(
    {**measurement.CHECKS, **strength.CHECKS, **comparison.CHECKS, **symmetry.CHECKS, **record.CHECKS}
)


def run_checks(findings: Findings, comparisons: tuple[Comparison, ...]) -> tuple[Check, ...]:
    """Return the outcome of every check of the table, in its order.

    Args:
        findings: all verdicts and probes.
        comparisons: all paired comparisons.

    Returns:
        One check per row of the table.
    """
    return tuple(Check(rule.id, rule.text, _outcome(rule, findings, comparisons)) for rule in TABLE)


def _outcome(rule: Rule, findings: Findings, comparisons: tuple[Comparison, ...]) -> Outcome:
    mode = findings.evaluation.mode
    if rule.mode not in ("", mode):
        return not_applicable(f"it concerns the serving mode {rule.mode}; the target is served as {mode}")
    if rule.id in _CODE:
        return _CODE[rule.id](findings, comparisons)
    return not_run(rule.needs)
