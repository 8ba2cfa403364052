"""An evaluation of a target that is sent UINT8: everybody sees rounded inputs, and the report says so.

Seen to fail when: the coding is not handed to the jury; the datatype is left out of the key of a shard; the attacker's
networks see unrounded inputs.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks import LabelledData, ThreatModel, evaluate
from attacks.evaluation import Evaluation
from attacks.shards import plan, run_shard
from attacks.targets import FLOAT32, Rounded
from ensemble import SymmetryEnsemble
from ensemble.errors import UnknownName
from tests.attacks.conftest import Points

#: Inputs lie between 100 and 101 of 255; a change of one hundredth of a level matters, unless somebody rounds.
LEVEL = 100.3 / 255


class Fine(nn.Module):
    """Class 0 where the mean is at least the level, class 1 below it; a thousandth decides."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1e3), requires_grad=False)
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 2]`."""
        margin = self.scale * (inputs.mean((1, 2, 3)) - LEVEL)
        return torch.stack([margin, torch.zeros_like(margin)], 1)


def report_on(datatype: str, epsilon: float) -> Any:
    """Forty points just above the level, served in a datatype; the nearest lower level is 100/255."""
    return evaluate(
        Fine(),
        base=Fine(),
        inputs=torch.full((40, 1, 4, 4), 101 / 255),
        labels=torch.zeros(40, dtype=torch.int64),
        threat=ThreatModel("linf", (epsilon,)),
        datatype=datatype,
        rng=torch.Generator().manual_seed(0),
    )


def test_what_rounding_takes_back_does_not_count() -> None:
    """0.45 of a level is rounded away: the served accuracy stays 100 %; one level and a bit is not."""
    assert report_on("UINT8", 0.45 / 255).headline.robust_accuracy.k == 40
    assert report_on("UINT8", 1.1 / 255).headline.robust_accuracy.k == 0
    assert report_on("FP32", 0.8 / 255).headline.robust_accuracy.k == 0


def test_the_report_says_how_inputs_are_sent() -> None:
    """The subject names the datatype, and each sentence where a perturbation is measured."""
    served, plain = report_on("UINT8", 0.4 / 255), report_on("FP32", 0.4 / 255)
    assert (served.subject.datatype, plain.subject.datatype) == ("UINT8", "FP32")
    assert all("before it is sent as UINT8 and rounded" in model.sentence for model in served.threat_models)
    assert not any("rounded" in model.sentence for model in plain.threat_models)


@pytest.fixture
def evaluations(members: SymmetryEnsemble, network: nn.Module, digits: Points) -> dict[str, Evaluation]:
    """The same evaluation of an ensemble in two datatypes, with an attacker and another draw of the group."""
    fields: dict[str, Any] = {
        "target": members,
        "base": network,
        "inputs": digits.inputs[1500:1512],
        "labels": digits.labels[1500:1512],
        "threat": ThreatModel("linf", (0.1,)),
        "attacker": LabelledData(digits.inputs[1600:], digits.labels[1600:]),
        "calibration": digits.inputs[1000:1400],
        "draws": 2,
    }
    return {name: Evaluation(**fields, datatype=name) for name in ("FP32", "UINT8")}


def test_every_network_sees_rounded_inputs(evaluations: dict[str, Evaluation]) -> None:
    """Judges, the attacker's own networks and other draws: nobody sees what cannot be sent."""
    coded, plain = evaluations["UINT8"], evaluations["FP32"]
    name = next(row.surrogate for row in coded.rows.rows if row.surrogate not in ("base", "target", "members"))
    for evaluation, coding in ((coded, Rounded((0.0, 1.0))), (plain, FLOAT32)):
        models = [*evaluation.jury.models.values(), *(make() for make in evaluation.jury.late.values())]
        models += [evaluation.workshop.surrogate("base"), evaluation.workshop.surrogate(name)]
        assert len(models) > 5
        assert {model.coding for model in models} == {coding}


def test_the_datatype_is_part_of_every_key(evaluations: dict[str, Evaluation]) -> None:
    """No result of one datatype is found for the other; the attackers' random numbers are the same."""
    one, two = (plan(evaluations[name]) for name in ("FP32", "UINT8"))
    assert not {shard.key for shard in one} & {shard.key for shard in two}
    assert [shard.seed for shard in one] == [shard.seed for shard in two]


def test_exact_symmetries_pass_behind_a_rounding(evaluations: dict[str, Evaluation]) -> None:
    """The null test compares like with like: base and exact ensemble are both rounded."""
    evaluation = evaluations["UINT8"]
    shard = next(shard for shard in plan(evaluation) if shard.work == "probes")
    numbers = run_shard(shard, evaluation)["numbers"]["null_test"]
    assert numbers["run"]
    assert numbers["logit_difference"] <= 1e-5


def test_an_unknown_datatype_lists_the_known_ones() -> None:
    """Nothing is run for a datatype nobody serves."""
    with pytest.raises(UnknownName, match=r"expected one of \[FP32, UINT8\], got 'INT8'"):
        report_on("INT8", 0.1)
