"""Fills the report's schema from the findings."""

import numpy as np

from attacks.building import build_attack
from attacks.checks import Check, run_checks
from attacks.findings import Findings, Run
from attacks.gains import Comparison, compare, outcome_of, void_reasons
from attacks.identity import artifact_of, data_of, environment_of, not_run_of, subject_of
from attacks.jury import BASE
from attacks.metrics import Flags, Rate, attack_success_rate, rate, transfer_rate, transfer_rate_all_right
from attacks.report import EvaluationReport
from attacks.schema import (
    AttackResult,
    CheckResult,
    CleanResult,
    GainResult,
    Headline,
    Proportion,
    RawResult,
    Status,
    SuiteInfo,
    TargetResult,
    ThreatModelResult,
    Transfer,
)
from attacks.statistics import wilson
from attacks.status import status_of
from attacks.threat import KNOWLEDGE, threat_sentence
from attacks.wording import LIMITS, WITHHELD, headline_sentence, radius_text


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
    models = [
        _threat_model(findings, threat, name, comparisons, status)
        for threat in range(len(findings.evaluation.threats))
        for name in KNOWLEDGE
    ]
    report = EvaluationReport(
        status=status,
        headline=_headline(findings, models, status),
        subject=subject_of(findings),
        data=data_of(findings),
        suite=SuiteInfo(name=findings.evaluation.rows.name, version=findings.evaluation.rows.version, overrides={}),
        clean=[_clean(findings, judge) for judge in findings.evaluation.jury.names],
        threat_models=models,
        attacks=[_attack(findings, run) for run in findings.runs],
        transfer=_transfer(findings),
        checks=[_check(check) for check in checks],
        certificates=[],
        not_run=not_run_of(findings),
        artifacts=[artifact_of(findings, run, record) for run in findings.runs for record in run.examples],
        environment=environment_of(findings),
    )
    return report.sealed()


def _proportion(flags: Flags) -> Proportion:
    """All points: the interval is always stated."""
    k, n = int(flags.sum()), len(flags)
    low, high = wilson(k, n)
    return Proportion(k=k, n=n, value=k / n, low=low, high=high)


def _from_rate(of: Rate) -> Proportion:
    return Proportion(k=of.k, n=of.n, value=of.value, low=of.low, high=of.high)


def _clean(findings: Findings, judge: str) -> CleanResult:
    own = findings.clean[judge]
    agreement = _from_rate(rate(int((own == findings.clean[BASE]).sum()), findings.n))
    return CleanResult(target=judge, clean_accuracy=_proportion(own), agreement_with_base=agreement)


def _threat_model(
    findings: Findings, threat: int, name: str, comparisons: tuple[Comparison, ...], status: Status
) -> ThreatModelResult:
    model = findings.evaluation.threats[threat]
    own = [item for item in comparisons if (item.threat, item.knowledge) == (threat, name)]
    last = [item for item in own if item.epsilon == len(model.epsilons) - 1]
    return ThreatModelResult(
        name=name,
        norm=model.norm,
        mode=findings.evaluation.mode,
        sentence=threat_sentence(model, KNOWLEDGE[name]),
        query_budget=None,
        epsilons=list(model.epsilons),
        results=[
            _target_result(findings, threat, name, judge, index)
            for judge in findings.judges(name)
            for index in range(len(model.epsilons))
        ],
        gains=[_gain(findings, item) for item in own],
        outcome=WITHHELD if status.value == "UNRELIABLE" else outcome_of(last),
    )


def _target_result(findings: Findings, threat: int, name: str, judge: str, index: int) -> TargetResult:
    model = findings.evaluation.threats[threat]
    return TargetResult(
        norm=model.norm,
        epsilon=model.epsilons[index],
        target=judge,
        raw=[_raw(findings, run, judge, index) for run in findings.runs_on(threat, name, judge)],
        robust_accuracy=_proportion(findings.robust(threat, name, judge)[index]),
    )


def _raw(findings: Findings, run: Run, judge: str, index: int) -> RawResult:
    own = _proportion(findings.raw(run, judge)[index])
    success = attack_success_rate(findings.clean[judge], run.held[judge][index])
    return RawResult(attack=run.row.id, **own.model_dump(), attack_success_rate=_from_rate(success))


def _gain(findings: Findings, item: Comparison) -> GainResult:
    model = findings.evaluation.threats[item.threat]
    gain = item.gain
    return GainResult(
        over=item.over,
        norm=model.norm,
        epsilon=model.epsilons[item.epsilon],
        b=gain.b,
        c=gain.c,
        gain=gain.gain,
        low=gain.low,
        high=gain.high,
        p=gain.p,
        p_holm=item.p_holm,
        mdg=item.mdg,
        per_seed=[],
        outcome=item.outcome,
        void_because=void_reasons(findings, item.threat, item.knowledge, item.epsilon),
    )


def _headline(findings: Findings, models: list[ThreatModelResult], status: Status) -> Headline:
    model = next(item for item in models if item.name == "white_box")
    threat = findings.evaluation.threats[0]
    robust = tuple(_proportion(findings.robust(0, model.name, j)[-1]) for j in (findings.target, BASE))
    clean = tuple(_proportion(findings.clean[j]) for j in (findings.target, BASE))
    attacks = len(findings.runs_on(0, model.name, findings.target))
    sentence = headline_sentence(
        status,
        model=model.name,
        norm=threat.norm,
        radius=radius_text(threat.norm, threat.headline, threat.bounds),
        target=findings.target,
        attacks=attacks,
        robust=(robust[0], robust[1]),
        clean=(clean[0], clean[1]),
        chance=findings.chance / findings.n,
        outcome=model.outcome,
    )
    return Headline(
        model=model.name,
        norm=threat.norm,
        epsilon=threat.headline,
        target=findings.target,
        attacks=attacks,
        robust_accuracy=robust[0],
        base_robust_accuracy=robust[1],
        clean_accuracy=clean[0],
        base_clean_accuracy=clean[1],
        outcome=model.outcome,
        sentence=sentence,
        limits=LIMITS,
    )


def _attack(findings: Findings, run: Run) -> AttackResult:
    own = findings.clean[findings.target] & ~run.held[findings.target][-1]
    others = [r.held[findings.target][-1] for r in findings.runs if r.threat == run.threat and r is not run]
    unique = own & np.logical_and.reduce(others) if others else own
    threat = findings.evaluation.threats[run.threat]
    surrogate = findings.evaluation.surrogate(run.row)
    built = build_attack(run.row, threat.norm, surrogate)
    return AttackResult(
        id=run.row.id,
        norm=threat.norm,
        class_=type(getattr(built, "attack", built)).__name__,
        knowledge=run.row.knowledge,
        parameters=dict(run.row.parameters),
        draws=run.row.draws,
        surrogate_digest=surrogate.digest if run.row.gradient else None,
        seed=findings.evaluation.seed,
        precision="float32",
        fooled=int(own.sum()),
        unique_fooled=int(unique.sum()),
        forwards=run.forwards,
        backwards=run.backwards,
        queries=0,
        seconds=run.seconds,
    )


def _transfer(findings: Findings) -> Transfer | None:
    """The row of the stolen base: its strongest iterative examples, judged on everybody else."""
    iterative = [r for r in findings.runs if r.threat == 0 and r.row.knowledge == "stolen_base" and r.row.kind == "pgd"]
    if not iterative:
        return None
    run = iterative[-1]
    judges = [judge for judge in findings.evaluation.jury.names if judge != BASE]
    members = findings.evaluation.jury.members or (findings.target,)
    clean = [findings.clean[name] for name in (BASE, *members)]
    source = (findings.clean[BASE], run.held[BASE][-1])
    rates = [transfer_rate(source[0], findings.clean[j], source[1], run.held[j][-1]) for j in judges]
    return Transfer(
        norm=findings.evaluation.threats[0].norm,
        epsilon=findings.evaluation.threats[0].headline,
        attack=run.row.id,
        sources=[BASE],
        members=judges,
        rate=[[item.value for item in rates]],
        rate_all_right=[[transfer_rate_all_right(clean, run.held[j][-1]).value for j in judges]],
        denominators=[[item.n for item in rates]],
        gradient_cosine=None,
    )


def _check(check: Check) -> CheckResult:
    return CheckResult(
        id=check.id,
        status=check.outcome.level.value,
        applies=check.outcome.applies,
        rule=check.rule,
        numbers=dict(check.outcome.numbers),
        reason=check.outcome.reason,
    )
