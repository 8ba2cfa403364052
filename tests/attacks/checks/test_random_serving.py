"""Checks of random serving on a real evaluation, and on findings with a fault planted in them.

Seen to fail when: D3 asks for one member only; D4 is satisfied by any attack; D6 takes the largest share of right
members; D1 accuses a base that nobody declared undefended; D checks run in other modes; D4 is satisfied by a greedy
attack on a baseline; D5 asks whether all members are right, swaps its sides, warns where it must fail, or compares
points that one side did not attack.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
from torch import nn

from attacks import ThreatModel
from attacks.assembly import assemble_report
from attacks.checks import random_serving, run_checks
from attacks.data import DataDescription
from attacks.evaluation import Evaluation
from attacks.findings import Findings, Run, gather
from attacks.gains import compare
from attacks.rows import AttackRow
from attacks.shards import plan, run_shard
from tests.attacks.conftest import Points


@pytest.fixture(scope="module")
def findings(members: nn.Module, network: nn.Module, held_out: Points) -> Findings:
    """What the quick suite finds where one random member answers."""
    evaluation = Evaluation(
        target=members,
        base=network,
        inputs=held_out.inputs[:40],
        labels=held_out.labels[:40],
        threat=ThreatModel("linf", (0.05, 0.1)),
        mode="random_member",
        seed=7,
        data=DataDescription("digits"),
        block=40,
    )
    return gather(evaluation, [run_shard(shard, evaluation) for shard in plan(evaluation)])


def _checks(findings: Findings) -> dict[str, Any]:
    return {check.id: check.outcome for check in run_checks(findings, compare(findings))}


def test_an_honest_evaluation_of_random_serving_passes(findings: Findings) -> None:
    """Nothing of A, B or D fails; what the standard suite asks for is not run."""
    found = _checks(findings)
    levels = {name: outcome.level.value for name, outcome in found.items()}
    assert [name for name, level in levels.items() if level == "FAIL"] == []
    assert [levels[f"D{i}"] for i in (2, 3, 4, 6)] == ["PASS"] * 4
    assert levels["D1"] in ("PASS", "WARN")
    assert levels["D5"] == "NOT-RUN"
    assert all(found[f"D{i}"].applies for i in range(1, 7))
    assert not found["E6"].applies or levels["E6"] == "NOT-RUN"


def test_retries_grow_and_follow_from_the_members(findings: Findings) -> None:
    """With two members a point of which one is right falls to r requests with chance 1 - 2^-r."""
    names = findings.evaluation.jury.members
    clean = {**findings.clean, **{name: np.ones(40, bool) for name in names}}
    half = np.arange(40) < 20
    runs = []
    for run in findings.runs:
        held = {name: np.ones_like(flags) for name, flags in run.held.items()}
        if run.row.kind == "greedy_members" and names[0] in held:
            held[names[0]] = np.broadcast_to(half, held[names[0]].shape)
        runs.append(dataclasses.replace(run, held=held))
    planted = dataclasses.replace(findings, clean=clean, runs=tuple(runs))
    curve = _checks(planted)["D6"].numbers["success_within"]
    assert curve == {"1": pytest.approx(0.25), "3": pytest.approx(0.5 * 7 / 8), "10": pytest.approx(0.5 * 1023 / 1024)}


def test_a_verdict_by_one_draw_is_noticed(findings: Findings) -> None:
    """Without the members' own verdicts there is no expectation: the status is UNRELIABLE."""
    last = findings.evaluation.jury.members[-1]
    runs = tuple(
        dataclasses.replace(run, held={name: flags for name, flags in run.held.items() if name != last})
        for run in findings.runs
    )
    planted = dataclasses.replace(findings, runs=runs)
    assert _checks(planted)["D3"].level.value == "FAIL"


def test_without_the_greedy_attack_the_report_is_unreliable(findings: Findings) -> None:
    """Attacks on the expectation alone are not enough."""
    runs = tuple(run for run in findings.runs if run.row.kind != "greedy_members")
    planted = dataclasses.replace(findings, runs=runs)
    assert _checks(planted)["D4"].level.value == "FAIL"
    status = assemble_report(planted).status
    assert status.value == "UNRELIABLE"
    assert "D4" in status.reasons


def test_a_greedy_attack_on_a_baseline_is_not_enough(findings: Findings) -> None:
    """D4 asks for the attack on the target: noise that was attacked greedily says nothing about it."""
    runs = tuple(run for run in findings.runs if (run.row.kind, run.judge) != ("greedy_members", "ensemble"))
    assert any(run.row.kind == "greedy_members" for run in runs)
    planted = dataclasses.replace(findings, runs=runs)
    assert _checks(planted)["D4"].level.value == "FAIL"


def _cold(kind: str, right: tuple[int, int], attempted: int = 40) -> Run:
    """A cold run that leaves each of the two members so many points, of those it attacked."""
    row = AttackRow(f"audit-{kind}", kind, "white_box", {"steps": 100}, surrogate="target")
    names = ("ensemble", "member-0", "member-1")
    left = (0, *right)
    held = {name: np.broadcast_to(np.arange(40) < count, (2, 40)) for name, count in zip(names, left, strict=True)}
    where = np.broadcast_to(np.arange(40) < attempted, (2, 40))
    flags = held["ensemble"]
    return Run(row, 0, held, "ensemble", flags, (0.0,) * 2, True, (), 1, 1, 0.0, where, ~flags, (0.05, 0.1))


@pytest.mark.parametrize(
    ("averaged", "direct", "level", "drop"),
    [
        ((40, 0), (40, 0), "PASS", 0.0),
        ((0, 0), (40, 0), "FAIL", 0.5),  # all members right nowhere: only the expectation tells them apart
        ((40, 0), (0, 0), "PASS", -0.5),
        ((34, 0), (40, 0), "PASS", 0.075),  # six points, 2^-6 > 0.01: not significant
        ((33, 0), (40, 0), "FAIL", 0.0875),  # seven points, 2^-7 < 0.01
    ],
)
def test_the_averaged_copy_must_not_beat_the_direct_attack(
    averaged: tuple[int, int], direct: tuple[int, int], level: str, drop: float, findings: Findings
) -> None:
    """D5 compares the shares of right members, paired point by point; beaten significantly, the direct attack fails."""
    standard = dataclasses.replace(findings, audits=(_cold("apgd_ce", averaged), _cold("eot", direct)))
    clean = {**findings.clean, **{name: np.ones(40, bool) for name in findings.evaluation.jury.members}}
    outcome = random_serving.CHECKS["D5"](dataclasses.replace(standard, clean=clean), ())
    assert outcome.level.value == level
    assert outcome.numbers["drop"] == pytest.approx(drop)


def test_both_sides_of_d5_are_asked_on_the_same_points(findings: Findings) -> None:
    """Points that one of the two attacks did not see are left out; without a second attack nothing is compared."""
    clean = {**findings.clean, **{name: np.ones(40, bool) for name in findings.evaluation.jury.members}}
    runs = (_cold("apgd_ce", (0, 0), attempted=30), _cold("eot", (40, 0), attempted=20))
    planted = dataclasses.replace(findings, audits=runs, clean=clean)
    assert random_serving.CHECKS["D5"](planted, ()).numbers["points"] == 20
    alone = dataclasses.replace(planted, audits=runs[:1])
    assert random_serving.CHECKS["D5"](alone, ()).level.value == "NOT-RUN"


def test_fresh_noise_in_front_of_members_is_noticed(findings: Findings) -> None:
    """A target that is random beyond its coin fails A5."""
    numbers = {**findings.numbers, "repeats": {**findings.numbers["repeats"], "label_changes": 3}}
    assert _checks(dataclasses.replace(findings, numbers=numbers))["A5"].level.value == "FAIL"
