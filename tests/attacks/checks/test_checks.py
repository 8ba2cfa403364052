"""Each check passes on an honest evaluation and notices the fault it is there for.

Faults are planted in the findings of a real evaluation. Seen to fail with: each check of `FAULTS` made to return PASS;
A and B left out of the fatal families; E1 left out of the fatal checks; NOT-RUN of a required check ignored; checks
that do not apply counted as missing; the clean accuracies left out of the headline; a remedy on a check that passed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attacks import EvaluationReport, ThreatModel, evaluate
from attacks.assembly import assemble_report
from attacks.checks import Check, Outcome, run_checks
from attacks.checks.outcome import Level, not_applicable
from attacks.checks.table import TABLE
from attacks.data import DataDescription
from attacks.evaluation import Evaluation
from attacks.findings import Findings, Run, gather
from attacks.gains import compare
from attacks.shards import plan
from attacks.status import status_of
from ensemble.digests import tensor_digest
from tests.attacks.conftest import Points

Change = Callable[[Findings], Findings]


@pytest.fixture(scope="module")
def findings(evaluation: Evaluation, results: dict[str, dict[str, Any]]) -> Findings:
    """What the honest evaluation found."""
    return gather(evaluation, [results[shard.key] for shard in plan(evaluation)])


def _levels(findings: Findings) -> dict[str, str]:
    return {check.id: check.outcome.level.value for check in run_checks(findings, compare(findings))}


def _run(findings: Findings, attack: str, **changes: Any) -> Findings:
    """The findings with one attack's runs changed; a callable value maps the old value to the new one."""

    def changed(run: Run) -> Run:
        if run.row.id != attack:
            return run
        new = {name: value(getattr(run, name)) if callable(value) else value for name, value in changes.items()}
        return dataclasses.replace(run, **new)

    runs, audits = (tuple(changed(run) for run in group) for group in (findings.runs, findings.audits))
    return dataclasses.replace(findings, runs=runs, audits=audits)


def _numbers(name: str, **changes: Any) -> Change:
    def change(findings: Findings) -> Findings:
        numbers = dict(findings.numbers)
        numbers[name] = {**numbers[name], **changes}
        return dataclasses.replace(findings, numbers=numbers)

    return change


def _held(findings: Findings, attack: str, judge: str, value: Any) -> Findings:
    shape = findings.runs[0].held[judge].shape
    return _run(findings, attack, held=lambda held: dict(held) | {judge: np.broadcast_to(value, shape).copy()})


def _evaluation(**changes: Any) -> Change:
    def change(findings: Findings) -> Findings:
        evaluation = findings.evaluation
        fields = {f.name: getattr(evaluation, f.name) for f in dataclasses.fields(Evaluation) if f.init}
        return dataclasses.replace(findings, evaluation=Evaluation(**(fields | changes)))

    return change


def _same_point(findings: Findings) -> Findings:
    digest = tensor_digest(findings.evaluation.inputs[5])
    return _evaluation(calibration_digests=(digest,))(findings)


def _same_id(findings: Findings) -> Findings:
    ids = findings.evaluation.data.ids
    return _evaluation(data=DataDescription("digits", ids=ids, used_ids=("digits-3",)))(findings)


def _bad_member(findings: Findings) -> Findings:
    return dataclasses.replace(findings, clean={**findings.clean, "member-1": findings.labels == 0})


def _weak_target(findings: Findings) -> Findings:
    clean = findings.clean["base"].copy()
    clean[:40] = False
    return dataclasses.replace(findings, clean={**findings.clean, "ensemble": clean})


def _flip(count: int) -> Change:
    def change(findings: Findings) -> Findings:
        def flip(flags: Any) -> Any:
            flags = flags.copy()
            flags[0, :count] = ~flags[0, :count]
            return flags

        return _run(findings, "audit-apgd-ce-20", in_attack=flip)

    return change


def _rising(findings: Findings) -> Findings:
    rungs = np.array([[False], [False], [True]])
    return _held(findings, "audit-apgd-ce-20", "ensemble", rungs)


FAULTS: dict[str, tuple[str, str, Change]] = {
    "weights moved": ("A1", "FAIL", lambda f: dataclasses.replace(f, digests={**f.digests, "base": frozenset("x")})),
    "training": ("A1", "FAIL", lambda f: dataclasses.replace(f, training=True)),
    "probabilities": ("A2", "FAIL", _numbers("logits_contract", probabilities=True)),
    "outside the ball": ("A3", "FAIL", lambda f: _run(f, "fgsm@stolen_base", excess=(0.0, 2e-6, 0.0))),
    "NaN examples": ("A3", "FAIL", lambda f: _run(f, "fgsm@stolen_base", finite=False)),
    "another serving path": ("A4", "FAIL", _numbers("serving", label_changes=1)),
    "many flips": ("A4", "FAIL", _flip(30)),
    "one flip": ("A4", "WARN", _flip(1)),
    "random answers": ("A5", "FAIL", _numbers("repeats", label_changes=1)),
    "noisy logits": ("A5", "FAIL", _numbers("repeats", difference=1e-3)),
    "batch changes a label": ("A6", "FAIL", _numbers("batch", label_changes=1)),
    "batch changes logits": ("A6", "WARN", _numbers("batch", difference=1e-3)),
    "a member at chance": ("A7", "FAIL", _bad_member),
    "clean accuracy lost": ("A7", "WARN", _weak_target),
    "a calibration point": ("A8", "FAIL", _same_point),
    "a calibration id": ("A8", "FAIL", _same_id),
    "ids absent": ("A8", "WARN", _evaluation(data=DataDescription("digits"))),
    "flips between precisions": ("A9", "FAIL", _flip(30)),
    "PGD weaker than FGSM": ("B1", "FAIL", lambda f: _held(f, "audit-apgd-ce-20", "ensemble", True)),
    "accuracy rises": ("B2", "FAIL", _rising),
    "vanishing gradients": ("B6", "FAIL", _numbers("vanishing", cross_entropy=2, margin=2)),
    "vanishing under one loss": ("B6", "WARN", _numbers("vanishing", cross_entropy=60)),
    "a lost iterate": ("B8", "FAIL", _numbers("iterates", not_best=1)),
    "silent successes": ("B8", "WARN", _numbers("iterates", silent=2)),
    "a silent alarm": ("B15", "FAIL", _numbers("gradient_killer", margin=0)),
    "leaks": ("B11", "FAIL", lambda f: _held(_masked(f), "fgsm@stolen_base", "ensemble", False)),
    "noise is stronger": ("B13", "FAIL", lambda f: _held(f, "noise-uniform-10", "ensemble", False)),
    "the control knows something": (
        "B14",
        "WARN",
        lambda f: dataclasses.replace(f, clean={**f.clean, "scrambled_control": f.clean["base"]}),
    ),
    "few points right": (
        "C6",
        "WARN",
        lambda f: dataclasses.replace(f, clean={**f.clean, "ensemble": np.arange(f.n) < 20}),
    ),
    "logits differ": ("E1", "FAIL", _numbers("null_test", logit_difference=1e-4)),
    "gradients differ": ("E1", "FAIL", _numbers("null_test", gradient_cosine_mean=0.99)),
    "verdicts differ": ("E1", "FAIL", _numbers("null_test", verdict_changes_beyond_margin=1)),
    "separate runs differ": ("E1", "FAIL", _numbers("null_test", separate_runs={"compared": 300, "differ": 2})),
    "a bit differs": ("E1", "FAIL", _numbers("null_test", powers_of_two={"equal": False, "compared": 9, "differ": 1})),
    "no site": ("E1", "NOT-RUN", _numbers("null_test", run=False, reason="no site")),
    "passes not counted": ("F2", "FAIL", lambda f: _run(f, "fgsm@stolen_base", backwards=0, forwards=0)),
}


def _masked(findings: Findings) -> Findings:
    findings = _held(findings, "audit-apgd-ce-20", "ensemble", True)
    return _held(findings, "audit-fgsm", "ensemble", True)


def test_an_honest_evaluation_passes_what_can_be_run(findings: Findings) -> None:
    """No check fails; those of this suite's attacks have an outcome, all others say why they were not run."""
    checks = run_checks(findings, compare(findings))
    levels = {check.id: check.outcome.level for check in checks}
    assert Level.FAIL not in levels.values()
    passed = "A1 A2 A3 A4 A5 A6 A8 A9 B1 B2 B6 B8 B11 B13 B15 C1 C2 C3 E1 F1 F2 F3 F5"
    for name in passed.split():
        assert levels[name] is Level.PASS, name
    assert [check.id for check in checks] == [rule.id for rule in TABLE]
    assert all(check.outcome.reason for check in checks if check.outcome.level is not Level.PASS)
    for check in checks:
        assert bool(check.remedy) == (check.outcome.level is not Level.PASS and check.outcome.applies), check.id


def test_checks_of_another_serving_mode_do_not_apply(report: EvaluationReport) -> None:
    """D1 to D6 concern random serving: NOT-RUN, marked, with the mode in the reason, and no reason of the status."""
    marked = {check.id: check for check in report.checks if not check.applies}
    assert list(marked) == ["D1", "D2", "D3", "D4", "D5", "D6"]
    assert {check.status for check in marked.values()} == {"NOT-RUN"}
    assert all("random_member" in check.reason and "prob" in check.reason for check in marked.values())
    assert not set(marked) & set(report.status.reasons)
    assert "B4" in report.status.reasons


def test_checked_can_be_reached_in_the_mode_that_is_served(findings: Findings) -> None:
    """Once everything that applies was run and passed, the status is CHECKED."""
    checks = run_checks(findings, compare(findings))
    passed = [check if not check.outcome.applies else replace_outcome(check, Outcome(Level.PASS)) for check in checks]
    assert status_of(passed, mode="prob").value == "CHECKED"


def replace_outcome(check: Check, outcome: Outcome) -> Check:
    """Return the check with another outcome."""
    return dataclasses.replace(check, outcome=outcome)


def test_the_table_is_complete() -> None:
    """A1-A9, B1-B16, C1-C6, D1-D6, E1-E9, F1-F7, each once."""
    sizes = {"A": 9, "B": 16, "C": 6, "D": 6, "E": 9, "F": 7}
    assert [rule.id for rule in TABLE] == [f"{family}{i}" for family, size in sizes.items() for i in range(1, size + 1)]


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_planted_fault_is_noticed(fault: str, findings: Findings) -> None:
    """The check named for the fault answers as the standard says, and did not before."""
    name, expected, change = FAULTS[fault]
    assert _levels(change(findings))[name] == expected
    assert _levels(findings)[name] != expected or expected == "WARN"


@pytest.mark.parametrize("fault", ["training", "leaks", "logits differ", "noise is stronger"])
def test_a_fault_is_printed_in_the_headline(fault: str, findings: Findings) -> None:
    """UNRELIABLE stands inside the headline sentence, and no outcome is printed."""
    name, _, change = FAULTS[fault]
    report = assemble_report(change(findings))
    assert report.status.value == "UNRELIABLE"
    assert name in report.status.reasons
    assert report.headline.sentence.startswith("[UNRELIABLE]")
    assert {model.outcome for model in report.threat_models} == {"WITHHELD (a check failed)"}


def _all(**levels: Level | None) -> list[Check]:
    """Every check, PASS unless named; None stands for one that does not apply."""
    outcomes = {name: Outcome(level) if level else not_applicable("another mode") for name, level in levels.items()}
    return [Check(rule.id, "", outcomes.get(rule.id, Outcome(Level.PASS))) for rule in TABLE]


@pytest.mark.parametrize(
    ("levels", "mode", "value", "reasons"),
    [
        ({}, "prob", "CHECKED", []),
        ({"A3": Level.FAIL, "C2": Level.FAIL}, "prob", "UNRELIABLE", ["A3"]),
        ({"E1": Level.FAIL}, "prob", "UNRELIABLE", ["E1"]),
        ({"E5": Level.FAIL}, "prob", "INCOMPLETE", ["E5"]),
        ({"B4": Level.NOT_RUN, "B9": Level.NOT_RUN}, "prob", "INCOMPLETE", ["B4"]),
        ({"D4": Level.NOT_RUN}, "random_member", "UNRELIABLE", ["D4"]),
        ({"D4": Level.NOT_RUN}, "prob", "INCOMPLETE", ["D4"]),
        ({"D4": None}, "prob", "CHECKED", []),
        ({f"D{i}": None for i in range(1, 7)}, "prob", "CHECKED", []),
        ({"A8": Level.WARN, "B2": Level.WARN}, "prob", "CHECKED", []),
    ],
)
def test_the_status_follows_from_the_checks(levels: Any, mode: str, value: str, reasons: list[str]) -> None:
    """UNRELIABLE first, then INCOMPLETE, else CHECKED; thorough-only checks are not required."""
    status = status_of(_all(**levels), mode=mode)
    assert (status.value, status.reasons) == (value, reasons)
    warnings = sum(level is Level.WARN for level in levels.values())
    assert status.label == (f"CHECKED, {warnings} warnings" if value == "CHECKED" else value)


class _GradientKiller(nn.Module):
    """A network whose input is rounded to four grey levels: the gradient is zero, the answers are not safe."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Round without a straight-through gradient."""
        logits: torch.Tensor = self.network((inputs * 3).round() / 3 + 0 * inputs)
        return logits


@pytest.fixture(scope="module")
def masked(network: nn.Module, held_out: Points) -> EvaluationReport:
    """The report on a gradient-killer, attacked with examples of the honest base."""
    return evaluate(
        _GradientKiller(network),
        base=network,
        inputs=held_out.inputs,
        labels=held_out.labels,
        threat=ThreatModel("linf", (0.1, 0.2, 0.3)),
        rng=torch.Generator().manual_seed(0),
    )


def test_a_real_gradient_killer_turns_the_status_unreliable(masked: EvaluationReport) -> None:
    """The white box finds nothing, transfer does: the leak check fails, and the headline says so."""
    failed = [check.id for check in masked.checks if check.status == "FAIL"]
    assert "B11" in failed
    assert masked.status.value == "UNRELIABLE"


def test_a_single_network_has_a_whole_headline(network: nn.Module, held_out: Points) -> None:
    """A plain module against itself: it is called network, both clean accuracies are in the sentence, none won."""
    report = evaluate(
        network,
        base=network,
        inputs=held_out.inputs,
        labels=held_out.labels,
        threat=ThreatModel("linf", (0.1,)),
        rng=torch.Generator().manual_seed(0),
    )
    sentence = report.headline.sentence
    clean = f"{100 * report.headline.clean_accuracy.value:.1f} % ["  # type: ignore[operator]
    assert "the served network keeps" in sentence
    assert sentence.count(clean) >= 2
    assert sentence.index("Clean accuracy") < sentence.rindex(clean)
    assert [check.id for check in report.checks if check.status == "FAIL"] == []
    (gain,) = [gain for gain in report.threat_models[0].gains if gain.over == "base"]
    assert (gain.b, gain.c, gain.mdg) == (0, 0, None)
    assert report.transfer is not None
    assert report.transfer.members == ["network", "base"]


def test_a_single_network_has_no_members_and_says_so(masked: EvaluationReport) -> None:
    """Controls are NOT-RUN with the reason; the rows are base and network only."""
    levels = {check.id: check for check in masked.checks}
    assert levels["E5"].status == levels["B14"].status == "NOT-RUN"
    assert "single network" in levels["E5"].reason
    assert [item.target for item in masked.clean] == ["base", "network"]
    assert masked.subject.members == 0
