"""The part of a report about what was done: attacks with their costs, cold runs, what attackers made, baselines."""

import numpy as np

from attacks.building import class_name
from attacks.findings import Findings, Run
from attacks.jury import BASE
from attacks.metrics import Flags
from attacks.proportions import proportion_among
from attacks.schema import AttackResult, AuditPoint, AuditResult, BaselineResult, SurrogateResult


def attack_results(findings: Findings) -> list[AttackResult]:
    """Return every attack that the target faced: made without it, or on it."""
    return [_attack(findings, run, findings.target) for run in findings.runs if findings.target in run.held]


def attacks_on_baselines(findings: Findings) -> list[AttackResult]:
    """Return the white-box attacks on the networks the target is compared with."""
    return [_attack(findings, run, run.judge) for run in findings.runs if findings.target not in run.held]


def _attack(findings: Findings, run: Run, judge: str) -> AttackResult:
    own = _broken(findings, run, judge)
    others = [
        _broken(findings, other, judge)
        for other in findings.runs
        if other is not run and other.threat == run.threat and judge in other.held
    ]
    unique = own & ~np.logical_or.reduce(others) if others else own
    threat, row = findings.evaluation.threats[run.threat], run.row
    return AttackResult(
        id=run.id,
        norm=threat.norm,
        class_=class_name(row, threat.norm),
        knowledge=row.knowledge,
        parameters=dict(row.parameters),
        draws=row.draws,
        surrogate_digest=findings.evaluation.surrogate_digest(run),
        seed=findings.evaluation.seed,
        precision="float32",
        fooled=int(own.sum()),
        unique_fooled=int(unique.sum()),
        forwards=run.forwards,
        backwards=run.backwards,
        queries=run.queries,
        seconds=run.seconds,
        surrogate=run.judge if row.surrogate in ("target", "members") else row.surrogate,
        on=judge,
        epsilons=[epsilon for epsilon, rung in zip(run.epsilons, run.attempted, strict=True) if run.cold and rung.any()]
        or None,
        attempted=int(run.attempted.sum()),
        cold=run.cold,
        numbers=dict(run.numbers),
    )


def _broken(findings: Findings, run: Run, judge: str) -> Flags:
    """Return `[point]`: right on the clean input, lost to this attack at the largest radius or a smaller one."""
    broken: Flags = findings.clean[judge] & ~np.logical_and.reduce(run.held[judge], axis=0)
    return broken


def audit_results(findings: Findings) -> list[AuditResult]:
    """Return the cold runs on part of the points."""
    return [_audit(findings, run) for run in findings.audits]


def _audit(findings: Findings, run: Run) -> AuditResult:
    raw = findings.raw(run, run.judge)
    points = [
        AuditPoint(epsilon=epsilon, **proportion_among(flags, among).model_dump())
        for epsilon, flags, among in zip(run.epsilons, raw, run.attempted, strict=True)
        if among.any()
    ]
    return AuditResult(
        attack=run.row.id,
        norm=findings.evaluation.threats[run.threat].norm,
        class_=class_name(run.row, findings.evaluation.threats[run.threat].norm),
        target=run.judge,
        parameters=dict(run.row.parameters),
        results=points,
        forwards=run.forwards,
        backwards=run.backwards,
        queries=run.queries,
        seconds=run.seconds,
    )


def surrogate_results(findings: Findings) -> list[SurrogateResult]:
    """Return what attackers made, with its digest and what is known about it."""
    return [
        SurrogateResult(
            name=name,
            kind=str(found["kind"]),
            settings=dict(found["settings"]),
            digest=str(found["digest"]),
            numbers=dict(found["numbers"]),
        )
        for name, found in findings.materials.items()
        if "digest" in found
    ]


def baseline_results(findings: Findings) -> list[BaselineResult]:
    """Return the networks the target is compared with."""
    jury = findings.evaluation.jury
    names = [name for name in (*jury.models, *jury.late) if name not in (BASE, findings.target)]
    return [
        BaselineResult(
            name=name,
            digest=jury.digests[name],
            attacked=name in jury.attacked,
            numbers=dict(jury.notes.get(name, {})),
        )
        for name in names
    ]
