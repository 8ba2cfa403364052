"""The report says what was found, survives JSON, and notices a change.

Seen to fail with: `seconds` inside the digest; `run` inside the digest; the digest not verified; the clean point left
out of the curves; the chance line left out; the headline taken at the smallest radius; Wilson bounds swapped; epsilon 0
handed to the attacks; the digest verified for the newest version only; the description of the points
not handed on; `applies` written into reports that had none.
"""

import json
from typing import Any

import pytest
import torch
from torch import nn

from attacks import DataDescription, EvaluationReport, ThreatModel, evaluate
from attacks.canonical import content_digest, without
from attacks.evaluation import Evaluation
from attacks.report import VOLATILE
from attacks.statistics import wilson
from ensemble.errors import ArtifactError
from tests.attacks.conftest import Points


def _proportions(value: Any) -> list[dict[str, Any]]:
    """Every part of a JSON document that has k and n."""
    if isinstance(value, dict):
        own = [value] if {"k", "n", "low"} <= set(value) else []
        return own + [part for item in value.values() for part in _proportions(item)]
    return [part for item in value for part in _proportions(item)] if isinstance(value, list) else []


def test_json_gives_the_report_back(report: EvaluationReport) -> None:
    """Reading what was written gives an equal report and the same bytes."""
    again = EvaluationReport.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()
    assert json.loads(report.to_json())["schema"] == "levelset/evaluation-report"


def test_the_digest_ignores_times_and_hosts_only(report: EvaluationReport) -> None:
    """Seconds and the run block do not count; a verdict does."""
    document = json.loads(report.to_json())
    for attack in document["attacks"]:
        attack["seconds"] = 1e6
    document["run"] = {"host": "elsewhere"}
    assert EvaluationReport.from_json(json.dumps(document)).digest == report.digest
    assert report.with_run({"host": "here"}).digest == report.digest
    document["headline"]["robust_accuracy"]["k"] += 1
    with pytest.raises(ArtifactError, match="changed after it was written"):
        EvaluationReport.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON", "expected JSON of the schema"),
        ("{}", "errors"),
        ('{"schema": "levelset/evaluation-report", "schema_version": "1.0"}', "status"),
    ],
)
def test_a_foreign_document_is_refused(text: str, message: str) -> None:
    """What is not a report is an ArtifactError, not a crash."""
    with pytest.raises(ArtifactError, match=message):
        EvaluationReport.from_json(text)


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its own digest, as another version would have written it."""
    return document | {"report_digest": content_digest(without(document, VOLATILE))}


def test_versions_break_by_their_major_part(report: EvaluationReport) -> None:
    """A later minor version with unknown keys is read; a later major one is refused."""
    document = _sealed(json.loads(report.to_json()) | {"schema_version": "1.7", "new": {"k": 1}})
    assert EvaluationReport.from_json(json.dumps(document)).headline == report.headline
    with pytest.raises(ArtifactError, match=r"got levelset/evaluation-report 2\.0"):
        EvaluationReport.from_json(json.dumps(document | {"schema_version": "2.0"}))


def test_a_report_of_the_first_version_is_read_and_verified(report: EvaluationReport) -> None:
    """Version 1.0 had no `applies`: every check of it applied, and a change in it is noticed all the same."""
    document = json.loads(report.to_json()) | {"schema_version": "1.0"}
    for check in document["checks"]:
        check.pop("applies", None)
    document = _sealed(document)
    old = EvaluationReport.from_json(json.dumps(document))
    assert all(check.applies for check in old.checks)
    assert (old.digest, json.loads(old.to_json())) == (document["report_digest"], document)
    document["headline"]["robust_accuracy"]["k"] += 1
    with pytest.raises(ArtifactError, match="changed after it was written"):
        EvaluationReport.from_json(json.dumps(document))


def test_the_points_are_named(network: nn.Module, held_out: Points) -> None:
    """What is known about the points reaches the report and the check of their ids; unsaid, it is called unnamed."""
    arguments: dict[str, Any] = {
        "base": network,
        "inputs": held_out.inputs[:4],
        "labels": held_out.labels[:4],
        "threat": ThreatModel("linf", (0.1,)),
    }
    data = DataDescription("digits", "test", "lossless", ids=("a", "b", "c", "d"), used_ids=("d", "e"))
    named = evaluate(network, **arguments, data=data, rng=torch.Generator().manual_seed(0))
    assert (named.data.name, named.data.split, named.data.encoding) == ("digits", "test", "lossless")
    assert next(check.status for check in named.checks if check.id == "A8") == "FAIL"
    unnamed = evaluate(network, **arguments, rng=torch.Generator().manual_seed(0))
    assert (unnamed.data.name, unnamed.data.encoding) == ("unnamed", "not stated")


def test_every_proportion_has_its_wilson_interval(report: EvaluationReport) -> None:
    """Recomputed from the counts; a rate of fewer than 30 points has none."""
    found = _proportions(json.loads(report.to_json()))
    assert len(found) > 100
    for part in found:
        if part["value"] is None:
            assert part["n"] < 30
            assert part["low"] is part["high"] is None
        else:
            assert part["value"] == part["k"] / part["n"]
            assert (part["low"], part["high"]) == pytest.approx(wilson(part["k"], part["n"]))


def test_the_headline_is_the_white_box_at_the_largest_radius(report: EvaluationReport, evaluation: Evaluation) -> None:
    """Model, radius and both counts are those of the white-box results; the sentence carries status and limits."""
    headline = report.headline
    model = next(model for model in report.threat_models if model.name == "white_box")
    results = {result.target: result for result in model.results if result.epsilon == 0.2}
    assert (headline.model, headline.epsilon, headline.attacks) == ("white_box", 0.2, 6)
    assert headline.robust_accuracy == results["ensemble"].robust_accuracy
    assert headline.base_robust_accuracy == results["base"].robust_accuracy
    assert headline.sentence.startswith(f"[{report.status.label}] On n = 100 images, linf <= 0.2 (51/255)")
    assert "a better attack can only lower it" in headline.sentence
    assert "robust" not in headline.sentence.replace("white_box", "")


def test_the_base_falls_and_transfer_is_weaker_than_the_white_box(report: EvaluationReport) -> None:
    """On real verdicts: worst case at most every raw accuracy, falling with epsilon, at most clean."""
    clean = {item.target: item.clean_accuracy.k for item in report.clean}
    for model in report.threat_models:
        for target in {result.target for result in model.results}:
            counts = [r.robust_accuracy.k for r in model.results if r.target == target]
            assert counts == sorted(counts, reverse=True)
            assert counts[0] <= clean[target]
        for result in model.results:
            assert result.robust_accuracy.k <= min(raw.k for raw in result.raw)
    assert report.headline.base_robust_accuracy.k < 30
    union = {
        (m.name, r.epsilon): r.robust_accuracy.k
        for m in report.threat_models
        for r in m.results
        if r.target == "ensemble"
    }
    assert all(union["white_box", epsilon] <= union["stolen_base", epsilon] for epsilon in (0.05, 0.1, 0.2))


def test_curves_have_every_row(report: EvaluationReport) -> None:
    """Base, ensemble, members, both controls and chance, from the clean point on, each value in its interval."""
    curves = [curve for curve in report.curves if curve.model == "stolen_base"]
    worst = {curve.target: curve for curve in curves if curve.attack == "worst case"}
    assert set(worst) == {"base", "ensemble", "member-0", "member-1", "scrambled_control", "weight_noise_equal_norm"}
    clean = {item.target: item.clean_accuracy.k for item in report.clean}
    for target, curve in worst.items():
        assert [point.epsilon for point in curve.points] == [0.0, 0.05, 0.1, 0.2]
        assert curve.points[0].k == clean[target]
        assert all((p.low or 0.0) <= (p.value or 0.0) <= (p.high or 0.0) for p in curve.points)
    (chance,) = [curve for curve in curves if curve.target == "chance"]
    assert {point.value for point in chance.points} == {report.data.chance_accuracy}
    assert {curve.attack for curve in curves if curve.target == "ensemble"} == {
        "worst case",
        "noise-uniform-10",
        "fgsm@stolen_base",
        "mi-di-10@stolen_base",
    }


def test_what_was_not_run_is_said(report: EvaluationReport) -> None:
    """The attacks the full standard asks for are listed with a reason, and the examples have digests."""
    assert {"lgv_surrogate", "member_to_member", "AutoAttack"} <= {item.what for item in report.not_run}
    assert all(item.why for item in report.not_run)
    # In three blocks ten noise draws, three attacks made elsewhere and four cascades; then two cold runs.
    assert len(report.artifacts) == 3 * (10 + 3 + 4) + 2
    assert len({artifact.digest for artifact in report.artifacts}) == len(report.artifacts)


def test_costs_are_counted_in_points(report: EvaluationReport) -> None:
    """FGSM passes every point backward once per radius; MI-DI on the base ten times as often; survivors cost less."""
    costs = {attack.id: attack for attack in report.attacks}
    assert costs["fgsm@stolen_base"].backwards == 3 * 100
    assert costs["mi-di-10@stolen_base"].backwards == 10 * 3 * 100
    assert 0 < costs["fgsm@white_box"].backwards <= costs["apgd-ce-20@white_box"].backwards < 20 * 3 * 100
    assert costs["noise-uniform-10"].backwards == 0


def test_nothing_is_claimed_without_equal_accuracy_noise(report: EvaluationReport) -> None:
    """No outcome says GAIN, whatever the counts."""
    words = [model.outcome for model in report.threat_models]
    words += [gain.outcome for model in report.threat_models for gain in model.gains]
    assert words
    assert not any(word == "GAIN" or word.startswith("GAIN ") for word in words)


@pytest.mark.parametrize("epsilons", [(0.0,), (0.0, 1.5)])
def test_epsilon_zero_gives_clean_accuracy(network: nn.Module, held_out: Points, epsilons: tuple[float, ...]) -> None:
    """A ball without room leaves every verdict as it was, in every row, and no check fails for it."""
    report = evaluate(
        network,
        base=network,
        inputs=held_out.inputs[:40] * 0.5 + 0.25,  # inside the box: there foolbox's L2 noise divides 0 by 0
        labels=held_out.labels[:40],
        threat=ThreatModel("l2", epsilons),
        rng=torch.Generator().manual_seed(0),
    )
    clean = {item.target: item.clean_accuracy.k for item in report.clean}
    for model in report.threat_models:
        for result in (result for result in model.results if result.epsilon == 0):
            assert {raw.k for raw in result.raw} | {result.robust_accuracy.k} == {clean[result.target]}
    assert [check.id for check in report.checks if check.status == "FAIL"] == []
    assert all(curve.points[0].epsilon == 0 for curve in report.curves)
    assert all(len(curve.points) == len(epsilons) for curve in report.curves)
