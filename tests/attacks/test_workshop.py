"""What attackers make: once, from their own sample, the same bytes whoever makes it.

Seen to fail with: examples keyed by their surrogate's name alone; the store's digests not compared; an attacker without
a sample not left out; a material that cannot be made ending the evaluation.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attacks import ThreatModel
from attacks.data import LabelledData
from attacks.evaluate import run_all
from attacks.evaluation import Evaluation
from attacks.shards import plan, run_shard
from attacks.targets.failures import PreparationOutOfMemory
from tests.attacks.conftest import Points


def small(members: nn.Module, network: nn.Module, digits: Points, **changes: Any) -> Evaluation:
    """An evaluation of eight points in two blocks."""
    fields: dict[str, Any] = {
        "target": members,
        "base": network,
        "inputs": digits.inputs[1500:1508],
        "labels": digits.labels[1500:1508],
        "threat": ThreatModel("linf", (0.1,)),
        "seed": 1,
        "block": 4,
        "attacker": LabelledData(digits.inputs[1600:], digits.labels[1600:]),
    }
    return Evaluation(**(fields | changes))


def fresh(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The records of the attack on the attacker's own members."""
    shards = [shard for shard in plan(evaluation) if shard.stage == "fresh_members"]
    return [record for shard in shards for record in run_shard(shard, evaluation)["runs"]]


def test_a_surrogate_is_the_same_wherever_it_was_made(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path
) -> None:
    """In memory, read from a folder, or made again because the folder was damaged: equal examples."""
    expected = [record["examples"][0]["digest"] for record in fresh(small(members, network, digits))]
    kept = small(members, network, digits, examples_folder=tmp_path)
    controls = set(tmp_path.glob("*.tensors"))
    prepare = next(shard for shard in plan(kept) if shard.work == "prepare")
    run_shard(prepare, kept)
    (path,) = set(tmp_path.glob("*.tensors")) - controls
    when = path.stat().st_mtime_ns
    again = small(members, network, digits, examples_folder=tmp_path)
    assert [record["examples"][0]["digest"] for record in fresh(again)] == expected
    assert path.stat().st_mtime_ns == when
    damaged = bytearray(path.read_bytes())
    damaged[-2000:] = bytes(2000)
    path.write_bytes(bytes(damaged))
    again = small(members, network, digits, examples_folder=tmp_path)
    assert [record["examples"][0]["digest"] for record in fresh(again)] == expected


def test_keys_follow_the_attacker_s_sample(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """Another sample changes the keys of what is made from it, and of nothing made without it."""
    other = LabelledData(digits.inputs[1590:1780], digits.labels[1590:1780])
    first, second = (plan(small(members, network, digits, **change)) for change in ({}, {"attacker": other}))
    kept = {shard.key for shard in first} & {shard.key for shard in second}
    changed = {(shard.work, shard.stage) for shard in first if shard.key not in kept}
    # A cascade starts from all examples made elsewhere.
    assert changed == {("prepare", "prepare"), ("transfer", "fresh_members"), ("cascade", "white_box")}
    assert {shard.seed for shard in first if shard.key in kept} == {s.seed for s in second if s.key in kept}


def test_without_a_sample_of_its_own_an_attacker_is_not_run(
    members: nn.Module, network: nn.Module, digits: Points
) -> None:
    """The report says so, and no evaluated point is used in its place."""
    report = run_all(small(members, network, digits, attacker=None))
    reasons = {item.what: item.why for item in report.not_run}
    assert "no attacker data were given" in reasons["mi-di-10-member-per-step@fresh_members (linf)"]
    assert "fresh_members" not in {model.name for model in report.threat_models}
    assert next(check.status for check in report.checks if check.id == "E7") == "NOT-RUN"
    assert report.surrogates == []


def test_a_sample_that_is_too_small_is_said(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """The members cannot be made of it: the evaluation goes on without them, and says why."""
    few = LabelledData(digits.inputs[1600:1660], digits.labels[1600:1660])
    report = run_all(small(members, network, digits, attacker=few))
    reasons = {item.what: item.why for item in report.not_run}
    assert "the refit needs rank" in reasons["mi-di-10-member-per-step@fresh_members"]
    assert report.headline.robust_accuracy.n == 8


@pytest.mark.parametrize("mode", ["logit", "vote", "random_member"])
def test_every_serving_mode_is_evaluated(members: nn.Module, network: nn.Module, digits: Points, mode: str) -> None:
    """The verdicts are the mode's own; only random serving states an expectation, between its two bounds."""
    evaluation = small(
        members, network, digits, mode=mode, inputs=digits.inputs[1500:1540], labels=digits.labels[1500:1540]
    )
    report = run_all(evaluation)
    assert report.subject.mode == mode
    assert not [check.id for check in report.checks if check.status == "FAIL" and check.id[0] in "ACF"]
    clean = next(item.clean_accuracy.k for item in report.clean if item.target == "ensemble")
    with torch.no_grad():
        logits = members.member_logits(evaluation.inputs)  # type: ignore[operator]
    right = logits.argmax(-1) == evaluation.labels
    if mode == "random_member":
        assert clean == int(right.all(0).sum())
    for result in (result for model in report.threat_models for result in model.results):
        drawn = mode == "random_member" and result.target == "ensemble"
        assert (result.expected_accuracy is not None) == drawn
        if drawn:
            assert result.all_members_right is not None
            assert result.any_member_wrong is not None
            assert result.retry is not None
            assert result.robust_accuracy.k == result.all_members_right.k
            assert result.all_members_right.k + result.any_member_wrong.k == result.all_members_right.n
            low, high = result.all_members_right.k / 40, 1 - result.retry["1"]
            assert low <= result.expected_accuracy <= float(right.float().mean()) + 1e-9
            assert result.expected_accuracy == pytest.approx(high)
            assert result.retry["1"] <= result.retry["3"] <= result.retry["10"]


def test_equal_accuracy_noise_is_fitted_once(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path
) -> None:
    """The size found on validation points is kept; the noise made from it again has the same weights."""
    validation = LabelledData(digits.inputs[1400:1500], digits.labels[1400:1500])
    first = small(members, network, digits, validation=validation, examples_folder=tmp_path)
    when = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tensors")}
    assert len(when) == 2  # and how far the scrambled control had to go
    again = small(members, network, digits, validation=validation, examples_folder=tmp_path)
    name = "weight_noise_equal_accuracy"
    assert name in first.jury.attacked
    assert first.jury.digests == again.jury.digests
    assert first.jury.notes == again.jury.notes
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tensors")} == when
    note = first.jury.notes[name]
    assert abs(note["validation_accuracy"] - note["wanted_accuracy"]) <= 0.005 + 1e-9
    assert dict(small(members, network, digits).jury.absent)[name].startswith("no validation points")


class _Hungry(nn.Module):
    """A network that can be asked, and is too large to be trained."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's logits."""
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits: torch.Tensor = self.network(x)
        return logits


def test_memory_that_an_attacker_lacks_is_not_blamed_on_the_block(
    members: nn.Module, network: nn.Module, digits: Points
) -> None:
    """Weights collected in training run out of memory: the message says so, and names no block size."""
    evaluation = small(members, _Hungry(network).eval(), digits, suite="standard")
    (prepare,) = (shard for shard in plan(evaluation) if shard.work == "prepare" and shard.attack == "lgv")
    with pytest.raises(PreparationOutOfMemory, match="from fewer points") as raised:
        run_shard(prepare, evaluation)
    assert "block=" not in str(raised.value)
