"""Fills the report's schema from the findings."""

from attacks.certificates.bracket import Certificate
from attacks.checks import Check, run_checks
from attacks.effort import (
    attack_results,
    attacks_on_baselines,
    audit_results,
    baseline_results,
    surrogate_results,
)
from attacks.findings import Findings, Run
from attacks.gains import compare
from attacks.identity import artifact_of, data_of, environment_of, not_run_of, subject_of
from attacks.jury import BASE
from attacks.metrics import Flags
from attacks.report import EvaluationReport
from attacks.results import clean_result, headline, threat_models
from attacks.schema import CheckResult, GalleryItem, SuiteInfo, Transfer
from attacks.status import status_of
from attacks.transfer import transfer_matrix


def assemble_report(findings: Findings) -> EvaluationReport:
    """Return the sealed report of some findings.

    Args:
        findings: all verdicts and probes.

    Returns:
        The report.
    """
    comparisons = compare(findings)
    checks = run_checks(findings, comparisons)
    status = status_of(checks, mode=findings.evaluation.mode)
    models = threat_models(findings, comparisons, status)
    suite, runs = findings.evaluation.rows, (*findings.runs, *findings.audits)
    report = EvaluationReport(
        status=status,
        headline=headline(findings, models, status),
        subject=subject_of(findings),
        data=data_of(findings),
        suite=SuiteInfo(
            name=suite.name,
            version=suite.version,
            overrides=findings.evaluation.overrides.to_dict() if findings.evaluation.overrides else {},
        ),
        clean=[clean_result(findings, judge) for judge in findings.evaluation.jury.names],
        threat_models=models,
        attacks=attack_results(findings),
        attacks_on_baselines=attacks_on_baselines(findings),
        audits=audit_results(findings),
        surrogates=surrogate_results(findings),
        baselines=baseline_results(findings),
        gallery=[GalleryItem.model_validate(item) for item in findings.numbers.get("gallery", ())],
        transfer=_transfer(findings),
        checks=[_check(check) for check in checks],
        certificates=[Certificate.from_json(item).to_dict() for item in findings.numbers.get("certificates", ())],
        not_run=not_run_of(findings),
        artifacts=[artifact_of(findings, run, record) for run in runs for record in run.examples],
        environment=environment_of(findings),
    )
    return report.sealed()


def _transfer(findings: Findings) -> Transfer | None:
    """Return who fools whom at the headline radius: examples made on the stolen base, and on each member."""
    on_base = _strongest_on_base(findings)
    if on_base is None:
        return None
    members = findings.evaluation.jury.members
    judges = tuple(dict.fromkeys((*(members or (findings.target,)), BASE, findings.target)))
    leaked = [run for run in findings.runs if run.threat == 0 and run.row.surrogate == "members"]
    held: dict[str, dict[str, Flags]] = {}
    for source, run in ((BASE, on_base), *((run.judge, run) for run in leaked)):
        held[source] = {judge: run.held[judge][-1] for judge in judges}
    found = transfer_matrix(findings.clean, held)
    return Transfer(
        norm=findings.evaluation.threats[0].norm,
        epsilon=findings.evaluation.threats[0].headline,
        attack=leaked[0].row.id if leaked else on_base.row.id,
        sources=list(found.sources),
        members=list(found.judges),
        rate=[[cell.value for cell in row] for row in found.rate],
        rate_all_right=[[cell.value for cell in row] for row in found.rate_all_right],
        denominators=[[cell.n for cell in row] for row in found.rate],
        gradient_cosine=findings.numbers.get("geometry", {}).get("cosine"),
    )


def _strongest_on_base(findings: Findings) -> Run | None:
    """Return the iterative run on the stolen base that fools it most at the headline radius."""
    runs = [run for run in findings.runs if run.threat == 0 and run.row.surrogate == "base" and run.row.gradient]
    iterative = [run for run in runs if not run.row.single_step]
    return min(iterative, key=lambda run: int(run.held[BASE][-1].sum()), default=None)


def _check(check: Check) -> CheckResult:
    return CheckResult(
        id=check.id,
        status=check.outcome.level.value,
        applies=check.outcome.applies,
        rule=check.rule,
        numbers=dict(check.outcome.numbers),
        reason=check.outcome.reason,
        remedy=check.remedy,
    )
