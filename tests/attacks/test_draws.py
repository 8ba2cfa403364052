"""Other draws of the group: made of the target's recipe and calibration inputs, judged where no target is asked.

Seen to fail with: one seed for all draws; a draw left out of the verdicts; given draws not counted; other calibration
inputs accepted; the attacker's sample not compared; an error made again from its text alone.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attacks import ThreatModel
from attacks.checks.comparison import group_seeds
from attacks.data import LabelledData
from attacks.evaluation import Evaluation
from attacks.findings import gather
from attacks.shards import merge, plan, run_shard
from attacks.surrogates import FreshMembers
from ensemble.errors import InputError, UnknownName
from tests.attacks.conftest import Points


def drawn(members: nn.Module, network: nn.Module, digits: Points, **changes: Any) -> Evaluation:
    """An evaluation of six points with three draws."""
    fields: dict[str, Any] = {
        "target": members,
        "base": network,
        "inputs": digits.inputs[1500:1506],
        "labels": digits.labels[1500:1506],
        "threat": ThreatModel("linf", (0.1,)),
        "seed": 1,
        "block": 6,
        "draws": 3,
        "calibration": digits.inputs[1000:1400],
    }
    return Evaluation(**(fields | changes))


def test_draws_are_made_of_the_recipe_and_counted(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path
) -> None:
    """Two more ensembles, unlike each other and the target, as large, and the gains of all three are given."""
    evaluation = drawn(members, network, digits, examples_folder=tmp_path)
    controls = set(tmp_path.glob("*.tensors"))
    shards = plan(evaluation)
    results = {shard.key: run_shard(shard, evaluation) for shard in shards}
    report = merge(evaluation, results)
    names = [item.name for item in report.baselines if item.name.startswith("draw-")]
    assert names == ["draw-1", "draw-2"]
    made = [evaluation.drawn.model(name).network for name in names]
    logits = [net.member_logits(evaluation.inputs) for net in (members, *made)]  # type: ignore[operator]
    assert {len(item) for item in logits} == {2}
    assert all(not torch.allclose(logits[a], logits[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    found = gather(evaluation, [results[shard.key] for shard in shards])
    assert group_seeds(found, ()).reason.startswith("3 of 5 group seeds")
    stolen = next(model for model in report.threat_models if model.name == "stolen_base")
    assert all(len(gain.per_seed) == 3 for gain in stolen.gains)
    assert {item.target for item in report.clean} >= set(names)

    # Another process finds the same layers; a damaged file is made again.
    when = {path: path.stat().st_mtime_ns for path in set(tmp_path.glob("*.tensors")) - controls}
    assert len(when) == 2
    damaged = min(when)
    damaged.write_bytes(damaged.read_bytes()[:-2000] + bytes(2000))
    again = drawn(members, network, digits, examples_folder=tmp_path)
    assert [shard.key for shard in plan(again)] == [shard.key for shard in shards]
    for name, net in zip(names, made, strict=True):
        other = again.drawn.model(name).network
        assert torch.equal(net(evaluation.inputs), other(evaluation.inputs))
    untouched = max(when)
    assert untouched.stat().st_mtime_ns == when[untouched]


def test_a_draw_that_cannot_be_made_keeps_its_error(
    members: nn.Module, network: nn.Module, digits: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an error class is made from, it comes out as it went in, with the draw's name and a way out."""

    def refused(source: FreshMembers) -> None:
        raise UnknownName("activation", "mine", ["relu"])

    monkeypatch.setattr(FreshMembers, "prepare", refused)
    evaluation = drawn(members, network, digits)
    with pytest.raises(UnknownName, match=r"^draw-1, another draw of the group: unknown activation.*draws=1"):
        evaluation.drawn.model("draw-1")


def test_given_draws_count(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """Of three draws one is given as a network: one is left to be made, and it has the name of the second."""
    evaluation = drawn(members, network, digits, other_draws=[members])
    assert evaluation.jury.draws == ("draw-1", "draw-2")
    assert list(evaluation.drawn.sources) == ["draw-2"]
    assert drawn(members, network, digits, other_draws=[members], draws=1).jury.draws == ("draw-1",)


def test_five_draws_are_enough(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """C4 is run, and warns that there was one base training only."""
    evaluation = drawn(members, network, digits, other_draws=[members] * 4, draws=5, calibration=None)
    found = gather(evaluation, [run_shard(shard, evaluation) for shard in plan(evaluation)])
    outcome = group_seeds(found, ())
    assert (outcome.level.value, outcome.numbers["group_seeds"]) == ("WARN", 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration": None}, r"draws: expected the target's calibration inputs .* pass calibration=inputs"),
        ({"draws": 0}, "draws: expected a whole number >= 1, got 0"),
    ],
)
def test_draws_that_cannot_be_made_are_refused(
    members: nn.Module, network: nn.Module, digits: Points, changes: dict[str, Any], message: str
) -> None:
    """Before anything is run."""
    with pytest.raises(InputError, match=message):
        drawn(members, network, digits, **changes)


def test_other_inputs_are_another_recipe(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """A draw differs from the target by its seed alone."""
    with pytest.raises(InputError, match="the inputs the target was generated from"):
        drawn(members, network, digits, calibration=digits.inputs[1001:1400])
    with pytest.raises(InputError, match=r"^other draws of the group: expected a target with the record of its gen"):
        drawn(network, network, digits)


def test_the_attacker_s_sample_is_its_own(members: nn.Module, network: nn.Module, digits: Points) -> None:
    """A point that is evaluated, or one the defender calibrated on, is refused wherever it lies in the sample."""

    def sample(*indices: int) -> LabelledData:
        chosen = torch.tensor([*range(1600, 1640), *indices])
        return LabelledData(digits.inputs[chosen], digits.labels[chosen])

    drawn(members, network, digits, attacker=sample())
    with pytest.raises(InputError, match="no point in common with the evaluated points, got 1 of 41"):
        drawn(members, network, digits, attacker=sample(1502))
    with pytest.raises(InputError, match="no point in common with calibration or training points, got 2 of 42"):
        drawn(members, network, digits, attacker=sample(1003, 1399))
    whole = LabelledData(digits.inputs[1000:1400], digits.labels[1000:1400])
    with pytest.raises(InputError, match="calibration or training points"):
        drawn(members, network, digits, attacker=whole, draws=1, calibration=None)
