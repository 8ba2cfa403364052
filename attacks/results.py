"""The part of a report about accuracies: clean, per threat model, compared, and the headline."""

from attacks.building import query_budget
from attacks.findings import Findings, Run
from attacks.gains import Comparison, outcome_of, void_reasons
from attacks.jury import BASE, EQUAL_ACCURACY
from attacks.metrics import attack_success_rate, random_serving, rate
from attacks.proportions import from_rate, proportion, proportion_among
from attacks.schema import (
    CleanResult,
    GainResult,
    Headline,
    RawResult,
    Status,
    TargetResult,
    ThreatModelResult,
)
from attacks.threat import KNOWLEDGE, threat_sentence
from attacks.wording import LIMITS, WITHHELD, headline_sentence, radius_text

HEADLINE = "white_box"


def clean_result(findings: Findings, judge: str) -> CleanResult:
    """Return the clean accuracy of one judge."""
    own = findings.clean[judge]
    agreement = from_rate(rate(int((own == findings.clean[BASE]).sum()), findings.n))
    return CleanResult(target=judge, clean_accuracy=proportion(own), agreement_with_base=agreement)


def threat_models(findings: Findings, comparisons: tuple[Comparison, ...], status: Status) -> list[ThreatModelResult]:
    """Return one result per norm and kind of knowledge under which anything was run."""
    return [
        _threat_model(findings, threat, name, comparisons, status)
        for threat in range(len(findings.evaluation.threats))
        for name in findings.knowledge
        if findings.runs_on(threat, name, findings.target)
    ]


def _threat_model(
    findings: Findings, threat: int, name: str, comparisons: tuple[Comparison, ...], status: Status
) -> ThreatModelResult:
    model = findings.evaluation.threats[threat]
    own = [item for item in comparisons if (item.threat, item.knowledge) == (threat, name)]
    last = [item for item in own if item.epsilon == len(model.epsilons) - 1]
    runs = [run for run in findings.runs if (run.threat, run.row.knowledge) == (threat, name)]
    budget = max((query_budget(run.row) for run in runs), default=0) or None
    rungs = sorted({rung for run in runs for rung in range(len(model.epsilons)) if run.attempted[rung].any()})
    rungs = rungs if name in ("score_query", "decision_query", "member_to_member") else list(range(len(model.epsilons)))
    return ThreatModelResult(
        name=name,
        norm=model.norm,
        mode=findings.evaluation.mode,
        sentence=threat_sentence(model, KNOWLEDGE[name], queries=budget, datatype=findings.evaluation.datatype),
        query_budget=budget,
        epsilons=[model.epsilons[rung] for rung in rungs],
        results=[
            _target_result(findings, threat, name, judge, index) for judge in findings.judges(name) for index in rungs
        ],
        gains=[_gain(findings, item) for item in own if item.epsilon in rungs],
        outcome=WITHHELD if status.value == "UNRELIABLE" else outcome_of(last),
    )


def _target_result(findings: Findings, threat: int, name: str, judge: str, index: int) -> TargetResult:
    model = findings.evaluation.threats[threat]
    result = TargetResult(
        norm=model.norm,
        epsilon=model.epsilons[index],
        target=judge,
        raw=[
            _raw(findings, run, judge, index)
            for run in findings.runs_on(threat, name, judge)
            if run.cold and run.attempted[index].any()
        ],
        robust_accuracy=proportion_among(
            findings.robust(threat, name, judge)[index], findings.points_of(threat, name, judge)
        ),
    )
    return result.model_copy(update=_random(findings, threat, name, judge, index))


def _random(findings: Findings, threat: int, name: str, judge: str, index: int) -> dict[str, object]:
    """Return the figures of random serving for the target of an evaluation in that mode, else nothing."""
    if findings.evaluation.mode != "random_member" or judge != findings.target or not findings.evaluation.jury.members:
        return {}
    clean, flags = findings.member_verdicts(threat, name)
    found = random_serving(clean, flags, index)
    return {
        "expected_accuracy": found.expected_accuracy,
        "all_members_right": proportion(found.all_members_right),
        "any_member_wrong": proportion(~found.all_members_right),
        "retry": {str(count): share for count, share in found.retry.items()},
    }


def _raw(findings: Findings, run: Run, judge: str, index: int) -> RawResult:
    among = run.attempted[index]
    own = proportion_among(findings.raw(run, judge)[index], among)
    success = attack_success_rate(findings.clean[judge] & among, run.held[judge][index])
    return RawResult(attack=run.id, **own.model_dump(), attack_success_rate=from_rate(success))


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
        per_seed=list(item.per_draw) if len(item.per_draw) > 1 else [],
        outcome=item.outcome,
        void_because=void_reasons(findings, item.threat, item.knowledge, item.epsilon),
    )


def headline(findings: Findings, models: list[ThreatModelResult], status: Status) -> Headline:
    """Return the one result fixed before the run: white box, first threat model, largest radius."""
    model = next(item for item in models if item.name == HEADLINE)
    threat = findings.evaluation.threats[0]
    target, base = findings.target, BASE
    robust = {name: proportion(findings.robust(0, HEADLINE, name)[-1]) for name in findings.judges(HEADLINE)}
    clean = {name: proportion(findings.clean[name]) for name in robust}
    expected = next(
        (item.expected_accuracy for item in model.results if (item.target, item.epsilon) == (target, threat.headline)),
        None,
    )
    attacks = len({run.id for run in findings.runs_on(0, HEADLINE, target)})
    sentence = headline_sentence(
        status,
        model=HEADLINE,
        norm=threat.norm,
        radius=radius_text(threat.norm, threat.headline, threat.bounds),
        target=target,
        attacks=attacks,
        robust=(robust[target], robust[base]),
        noise=robust.get(EQUAL_ACCURACY),
        expected=expected,
        clean=(clean[target], clean[base]),
        chance=findings.chance / findings.n,
        outcome=model.outcome,
    )
    return Headline(
        model=HEADLINE,
        norm=threat.norm,
        epsilon=threat.headline,
        target=target,
        attacks=attacks,
        robust_accuracy=robust[target],
        base_robust_accuracy=robust[base],
        clean_accuracy=clean[target],
        base_clean_accuracy=clean[base],
        outcome=model.outcome,
        sentence=sentence,
        limits=LIMITS,
        noise_robust_accuracy=robust.get(EQUAL_ACCURACY),
        noise_clean_accuracy=clean.get(EQUAL_ACCURACY),
        expected_accuracy=expected,
    )
