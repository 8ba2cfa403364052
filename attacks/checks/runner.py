"""Runs every check of the table; what the suite, the mode or the target has no room for is NOT-RUN with its reason."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from attacks.certificates.bracket import Certificate, refuse_contradictions
from attacks.checks import (
    audit,
    comparison,
    diversity,
    gradients,
    measurement,
    random_serving,
    record,
    strength,
    symmetry,
)
from attacks.checks.outcome import Check, Level, Outcome, not_applicable, not_run
from attacks.checks.table import SUITE_OF_LETTER, TABLE, Rule, belongs
from attacks.findings import Findings
from attacks.gains import Comparison

Judge = Callable[[Findings, tuple[Comparison, ...]], Outcome]

_CODE: Mapping[str, Judge] = MappingProxyType(
    {
        **measurement.CHECKS,
        **strength.CHECKS,
        **audit.CHECKS,
        **gradients.CHECKS,
        **comparison.CHECKS,
        **random_serving.CHECKS,
        **symmetry.CHECKS,
        **diversity.CHECKS,
        **record.CHECKS,
    }
)


def run_checks(findings: Findings, comparisons: tuple[Comparison, ...]) -> tuple[Check, ...]:
    """Return the outcome of every check of the table, in its order.

    Args:
        findings: all verdicts and probes.
        comparisons: all paired comparisons.

    Returns:
        One check per row of the table, with its remedy wherever it did not pass.

    Raises:
        CertificateContradiction: an attack broke a certified point; no report follows.
    """
    _hold_certificates(findings)
    return tuple(_checked(rule, _outcome(rule, findings, comparisons)) for rule in TABLE)


def _hold_certificates(findings: Findings) -> None:
    for item in map(Certificate.from_json, findings.numbers.get("certificates", ())):
        radius = findings.evaluation.threats[item.threat].epsilons.index(item.epsilon)
        held = [findings.robust(item.threat, "white_box", item.target)[radius]]
        held += [findings.robust(item.threat, name, item.target)[radius] for name in findings.knowledge]
        refuse_contradictions(item, np.logical_and.reduce(held))


def _checked(rule: Rule, outcome: Outcome) -> Check:
    fine = outcome.level is Level.PASS or not outcome.applies
    return Check(rule.id, rule.text, outcome, "" if fine else rule.remedy)


def _outcome(rule: Rule, findings: Findings, comparisons: tuple[Comparison, ...]) -> Outcome:
    evaluation = findings.evaluation
    if rule.mode not in ("", evaluation.mode):
        return not_applicable(f"it concerns the serving mode {rule.mode}; the target is served as {evaluation.mode}")
    if rule.members and not evaluation.jury.members:
        return not_applicable("it concerns members; the target is a single network")
    if not belongs(rule, evaluation.rows.name):
        return not_run(f"first run by the suite {SUITE_OF_LETTER[rule.suite]}")
    return _CODE[rule.id](findings, comparisons)
