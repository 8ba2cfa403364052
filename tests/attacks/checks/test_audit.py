"""Checks of the standard suite on cold runs, probes and the matrix, with every side planted.

The context is a real evaluation; runs and numbers are made up, so that each threshold of the table is met from both
sides. Seen to fail when: a threshold moves; B4 forgets the plateau; B5 compares other steps; B7 looks at the wrong
side; B11 counts points of another radius; B12 forgets the cold runs; E2 divides by nought; E9 takes the largest.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
from torch import nn

from attacks import ThreatModel
from attacks.checks.outcome import Outcome
from attacks.data import DataDescription
from attacks.evaluation import Evaluation
from attacks.findings import Findings, Run
from attacks.rows import AttackRow
from tests.attacks.conftest import Points

N = 100
EPSILONS = (0.05, 0.1, 0.2)


@pytest.fixture(scope="module")
def context(members: nn.Module, network: nn.Module, held_out: Points) -> Evaluation:
    """An evaluation by the thorough suite that is never run."""
    return Evaluation(
        target=members,
        base=network,
        inputs=held_out.inputs,
        labels=held_out.labels,
        threat=ThreatModel("linf", EPSILONS),
        suite="thorough",
        data=DataDescription("digits"),
    )


def _flags(left: int, rungs: int = 3) -> Any:
    """The first so many points held, at every radius."""
    return np.broadcast_to(np.arange(N) < left, (rungs, N)).copy()


def _run(kind: str, left: Any, judge: str = "ensemble", *, knowledge: str = "white_box", **changes: Any) -> Run:
    """A run that leaves so many points of a network, attacked at every radius."""
    own: dict[str, Any] = {"parameters": {}, "full_range": False, "through": "", "surrogate": "target"} | changes
    row = AttackRow(f"audit-{kind}", kind, knowledge, **own)
    held = left if isinstance(left, np.ndarray) else _flags(left)
    everywhere = np.ones_like(held)
    return Run(row, 0, {judge: held}, judge, held, (0.0,) * 3, True, (), 1, 1, 0.0, everywhere, ~held, EPSILONS)


NUMBERS: dict[str, Any] = {
    "plateau": {"fall_at_end": 0.01},
    "normalised": {"points": N, "left": 30},
    "directional": {"run": True, "compared": 512, "agree": 512},
    "landscape": {"mean_change": 0.1},
    "disagreement": {"points": 64, "clean": {"disagreement": 0.05}, "noise": [{"disagreement": 0.2}]},
    "geometry": {"mean_cosine": 0.3},
    "member_count": {
        "points": N,
        "prefixes": [{"members": 1, "accuracy": 0.5}, {"members": 2, "accuracy": 0.505}],
        "without": [0.5, 0.505],
    },
}


def _findings(context: Evaluation, *audits: Run, runs: tuple[Run, ...] = (), **numbers: Any) -> Findings:
    everyone = ("base", "ensemble", "member-0", "member-1")
    return Findings(
        evaluation=context,
        labels=context.labels.numpy(),
        clean=dict.fromkeys(everyone, np.ones(N, bool)),
        runs=runs,
        numbers={**NUMBERS, **numbers},
        digests={},
        training=False,
        audits=audits,
    )


def _outcome(findings: Findings, name: str) -> Outcome:
    from attacks.checks.runner import _CODE

    return _CODE[name](findings, ())


def _apgd(left: int, steps: int = 100, restarts: int = 1) -> Run:
    return _run("apgd_ce", left, parameters={"steps": steps, "restarts": restarts})


@pytest.mark.parametrize(
    ("audits", "numbers", "name", "level"),
    [
        ([_run("pgd", 0, full_range=True)], {}, "B3", "PASS"),
        ([_run("pgd", 5, full_range=True)], {}, "B3", "WARN"),
        ([_run("pgd", 11, full_range=True)], {}, "B3", "FAIL"),
        ([], {}, "B3", "NOT-RUN"),
        ([_apgd(30), _apgd(30, 200)], {}, "B4", "PASS"),
        ([_apgd(30), _apgd(29, 200)], {}, "B4", "WARN"),
        ([_apgd(30), _apgd(20, 200)], {}, "B4", "FAIL"),
        ([_apgd(30), _apgd(30, 200)], {"plateau": {"fall_at_end": 0.06}}, "B4", "WARN"),
        ([_apgd(20), _apgd(30, 200)], {}, "B4", "PASS"),
        ([_apgd(30)], {}, "B4", "NOT-RUN"),
        ([_apgd(30), _apgd(30, 100, 5)], {}, "B5", "PASS"),
        ([_apgd(30), _apgd(29, 100, 5)], {}, "B5", "WARN"),
        ([_apgd(30), _apgd(20, 100, 5)], {}, "B5", "FAIL"),
        ([_apgd(30, 200), _apgd(20, 100, 5)], {}, "B5", "NOT-RUN"),
        ([_apgd(30), _run("apgd_dlr", 30, parameters={"steps": 100})], {}, "B7", "PASS"),
        ([_apgd(33), _run("apgd_dlr", 30, parameters={"steps": 100})], {}, "B7", "WARN"),
        ([_apgd(60), _run("apgd_dlr", 30, parameters={"steps": 100})], {}, "B7", "WARN"),
        (
            [_apgd(60), _run("apgd_dlr", 30, parameters={"steps": 100})],
            {"normalised": {"points": N, "left": 50}},
            "B7",
            "FAIL",
        ),
        ([_run("pgd", k) for k in (30, 30, 30)], {}, "B16", "PASS"),
        ([_run("pgd", k) for k in (30, 31, 30)], {}, "B16", "WARN"),
        ([_run("pgd", k) for k in (30, 33, 30)], {}, "B16", "FAIL"),
        ([_run("pgd", 30)], {}, "B16", "NOT-RUN"),
        ([], {"directional": {"run": True, "compared": 512, "agree": 470}}, "B10", "WARN"),
        ([], {"directional": {"run": True, "compared": 512, "agree": 400}}, "B10", "FAIL"),
        ([], {"directional": {"run": False, "reason": "no float64"}}, "B10", "NOT-RUN"),
        ([], {}, "B10", "PASS"),
        ([], {}, "B9", "PASS"),
        ([], {"landscape": {"mean_change": 0.5}}, "B9", "WARN"),
        ([], {}, "E2", "PASS"),
        (
            [],
            {"disagreement": {"points": 64, "clean": {"disagreement": 0.0}, "noise": [{"disagreement": 0.2}]}},
            "E2",
            "WARN",
        ),
        ([], {}, "E4", "PASS"),
        ([], {"geometry": {"mean_cosine": 0.95}}, "E4", "WARN"),
        ([], {}, "E8", "PASS"),
        (
            [],
            {"member_count": {"prefixes": [{"members": k, "accuracy": 0.4 + k / 50} for k in (1, 2)], "without": [0]}},
            "E8",
            "WARN",
        ),
        ([], {}, "E9", "PASS"),
        ([], {"member_count": {"points": N, "prefixes": [], "without": [0.5, 0.48]}}, "E9", "WARN"),
    ],
)
def test_thresholds_are_those_of_the_table(
    audits: list[Run], numbers: dict[str, Any], name: str, level: str, context: Evaluation
) -> None:
    """Each check answers as the table says on either side of each of its thresholds."""
    outcome = _outcome(_findings(context, *audits, **numbers), name)
    assert outcome.level.value == level
    assert bool(outcome.reason) == (level != "PASS")


def test_leaks_are_counted_where_gradients_attacked(context: Evaluation) -> None:
    """Points that a cold gradient attack leaves and transfer takes are leaks at that radius, and at no other."""
    transfer = _run("mi_di", 50, "base", knowledge="stolen_base", surrogate="base")
    transfer = dataclasses.replace(transfer, held={"base": _flags(0), "ensemble": _flags(50)})
    strong = _findings(context, _apgd(50), runs=(transfer,))
    assert _outcome(strong, "B11").level.value == "PASS"
    masked = _outcome(_findings(context, _apgd(70), runs=(transfer,)), "B11")
    assert (masked.level.value, masked.numbers["points"]) == ("FAIL", 20)
    part = dataclasses.replace(_apgd(N), attempted=_flags(60))
    assert _outcome(_findings(context, part, runs=(transfer,)), "B11").numbers["points"] == 10
    attempted = np.zeros((3, N), bool)
    elsewhere = dataclasses.replace(_apgd(70), attempted=attempted, held={"ensemble": _flags(N)})
    assert _outcome(_findings(context, elsewhere, runs=(transfer,)), "B11").numbers["points"] == 0


@pytest.mark.parametrize(("kept", "level"), [(1, "PASS"), (5, "WARN"), (6, "FAIL")])
def test_a_base_declared_undefended_must_fall(kept: int, level: str, context: Evaluation) -> None:
    """It may keep one point of a hundred, five with a warning; the same base undeclared is only counted."""
    fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(Evaluation) if f.init}
    declared = Evaluation(**(fields | {"undefended": True}))
    killer = {"points": 64, "cross_entropy": 64, "margin": 64, "both": 64}
    found = _findings(context, runs=(_run("apgd_ce", kept, "base"),), gradient_killer=killer)
    assert _outcome(found, "B15").level.value == "PASS"
    found = dataclasses.replace(found, evaluation=declared)
    assert _outcome(found, "B15").level.value == level
    assert _outcome(found, "D1").level.value == level


def test_queries_that_win_are_noticed(context: Evaluation) -> None:
    """What Square breaks beyond all gradient attacks, cold ones included, counts against the evaluation."""
    square = _run("square", 40, knowledge="score_query")
    white = _run("apgd_ce", 60, parameters={"steps": 100})
    found = _outcome(_findings(context, _apgd(70), runs=(white, square)), "B12")
    assert (found.level.value, found.numbers["points"]) == ("FAIL", 20)
    assert _outcome(_findings(context, _apgd(40), runs=(white, square)), "B12").level.value == "PASS"
    assert _outcome(_findings(context, _apgd(40), runs=(white,)), "B12").level.value == "NOT-RUN"


def test_every_mode_must_have_been_attacked(context: Evaluation) -> None:
    """The served mode missing is a failure, another one missing a check that was not run."""
    runs = [_run("apgd_ce", 40), *(_run("apgd_ce", 40, through=mode) for mode in ("logit", "vote"))]
    assert _outcome(_findings(context, runs=tuple(runs)), "E6").level.value == "PASS"
    assert _outcome(_findings(context, runs=tuple(runs[:2])), "E6").level.value == "NOT-RUN"
    assert _outcome(_findings(context, runs=tuple(runs[1:])), "E6").level.value == "FAIL"


def test_the_matrix_is_graded_by_its_smallest_cell(context: Evaluation) -> None:
    """All cells with thirty cases pass; one without is a warning."""

    def leaked(member: str, own_left: int) -> Run:
        run = _run("pgd", own_left, member, knowledge="member_to_member", surrogate="members")
        others = dict.fromkeys(("base", "ensemble", "member-0", "member-1"), _flags(50))
        return dataclasses.replace(run, held={**others, member: _flags(own_left)})

    full = _outcome(_findings(context, runs=(leaked("member-0", 0), leaked("member-1", 10))), "E3")
    assert full.level.value == "PASS"
    assert full.numbers["mean"] == pytest.approx((50 / 100 + 50 / 90) / 2)
    assert full.numbers["mean_on_ensemble"] == pytest.approx((50 / 100 + 50 / 90) / 2)
    thin = _outcome(_findings(context, runs=(leaked("member-0", 0), leaked("member-1", 75))), "E3")
    assert thin.level.value == "WARN"


def test_the_evaluated_points_must_not_have_been_tuned_on(context: Evaluation) -> None:
    """Validation points among the evaluated ones make C5 fail; others are counted."""
    from attacks.data import LabelledData

    for start, level in ((0, "FAIL"), (60, "WARN")):
        fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(Evaluation) if f.init}
        fields |= {"inputs": context.inputs[:50], "labels": context.labels[:50], "suite": "quick"}
        points = LabelledData(context.inputs[start : start + 40], context.labels[start : start + 40])
        try:
            changed = Evaluation(**(fields | {"validation": points}))
        except ValueError:  # refused even earlier, before any work
            assert level == "FAIL"
            continue
        assert _outcome(_findings(changed), "C5").level.value == level


def test_small_suites_leave_out_what_larger_ones_ask_for(context: Evaluation) -> None:
    """The quick suite says which suite runs a check first; a single network has no checks on members."""
    fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(Evaluation) if f.init}
    quick = Evaluation(**(fields | {"suite": "quick", "target": context.jury.models["base"].network}))
    from attacks.checks.runner import _outcome as outcome
    from attacks.checks.table import TABLE

    rules = {rule.id: rule for rule in TABLE}
    findings = dataclasses.replace(_findings(context), evaluation=quick)
    assert "suite standard" in outcome(rules["B4"], findings, ()).reason
    assert "suite thorough" in outcome(rules["B9"], findings, ()).reason
    assert not outcome(rules["E3"], findings, ()).applies
