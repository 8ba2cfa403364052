"""Everything malformed is refused before any work, with what was expected, what came and what to do.

Seen to fail with: the finiteness check, the bounds check, the label-range check and the suite look-up left out in
turn; a message without a remedy.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from attacks import LabelledData, ThreatModel, evaluate
from ensemble.errors import InputError, UnknownName
from tests.attacks.conftest import Points

Arguments = dict[str, Any]


def _with(name: str, value: Any) -> Callable[[Arguments], Arguments]:
    return lambda arguments: arguments | {name: value}


def _inputs(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Arguments], Arguments]:
    return lambda arguments: arguments | {"inputs": change(arguments["inputs"])}


def _nan(inputs: torch.Tensor) -> torch.Tensor:
    inputs = inputs.clone()
    inputs[3, 0, 0, 0] = torch.nan
    return inputs


def _other(scale: float, channels: int, *, label: int = 0) -> LabelledData:
    inputs = scale * torch.linspace(0, 1, 20 * channels * 64).reshape(20, channels, 8, 8)
    return LabelledData(inputs, torch.full((20,), label))


CASES: dict[str, tuple[Callable[[Arguments], Arguments], str]] = {
    "NaN": (_inputs(_nan), r"finite values.*1 of 10 points \(first: 3\)"),
    "infinity": (_inputs(lambda x: x + torch.inf), "10 of 10 points"),
    "outside the bounds": (_inputs(lambda x: x * 255), r"within the bounds \[0, 1\]"),
    "below the bounds": (_inputs(lambda x: x - 0.5), "got values from -0.5"),
    "three axes": (_inputs(lambda x: x[:, 0]), r"\[batch channel height width\], got \[10, 8, 8\]"),
    "another size": (_inputs(lambda x: x[..., :7]), r"accepts inputs of the shape \[1, 8, 7\]"),
    "no points": (_inputs(lambda x: x[:0]), "at least one point"),
    "doubles": (_inputs(lambda x: x.double()), "expected float32, got torch.float64"),
    "a list": (_with("inputs", [[0.0]]), "expected a torch.Tensor"),
    "label count": (_with("labels", torch.zeros(9, dtype=torch.int64)), r"shape \[10\], one label per input"),
    "float labels": (_with("labels", torch.zeros(10)), "class indices"),
    "listed labels": (_with("labels", [0] * 10), "got list"),
    "label too large": (_with("labels", torch.full((10,), 10)), "<= 9"),
    "negative label": (_with("labels", torch.full((10,), -1)), "classes >= 0"),
    "unknown mode": (_with("mode", "best"), "unknown serving mode"),
    "no threat": (_with("threat", ()), "expected a ThreatModel"),
    "a number as threat": (_with("threat", [0.1]), "expected a ThreatModel"),
    "other bounds": (
        _with("threat", (ThreatModel("linf"), ThreatModel("l2", bounds=(-1.0, 1.0)))),
        "equal bounds",
    ),
    "norm twice": (_with("threat", (ThreatModel("linf"), ThreatModel("linf"))), "one threat model per norm"),
    "no base": (_with("base", None), "stolen"),
    "a function": (_with("target", lambda x: x), "torch.nn.Module"),
    "training": (lambda a: a | {"target": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "eval mode"),
    "an attacker without labels": (
        lambda a: a | {"attacker": a["inputs"]},
        r"attacker: expected LabelledData, got Tensor",
    ),
    "an attacker of another size": (_with("attacker", _other(1, 3)), r"attacker: expected a tensor of the shape"),
    "an attacker outside the bounds": (_with("attacker", _other(9, 1)), r"attacker: expected every value within"),
    "an attacker of other classes": (_with("attacker", _other(1, 1, label=44)), "<= 9"),
    "validation of another size": (_with("validation", _other(1, 3)), r"validation: expected a tensor of the shape"),
    "listed calibration inputs": (_with("calibration", [0.5]), "calibration: expected a tensor .* got list"),
    "one digest as text": (_with("calibration_digests", "abc"), r"pass \(digest,\)"),
    "no generator": (_with("rng", None), r"rng: expected a torch.Generator"),
    "classes differ": (_with("base", nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()), "same number of classes"),
}


@pytest.fixture
def arguments(network: nn.Module, held_out: Points) -> Arguments:
    """Arguments that are right."""
    return {
        "target": network,
        "base": network,
        "inputs": held_out.inputs[:10],
        "labels": held_out.labels[:10],
        "threat": ThreatModel("linf", (0.1,)),
        "rng": torch.Generator().manual_seed(0),
    }


@pytest.mark.parametrize("case", list(CASES))
def test_malformed_arguments_are_refused_before_any_work(case: str, arguments: Arguments) -> None:
    """An InputError that names the remedy, and no shard was run."""
    change, message = CASES[case]
    done: list[Any] = []
    with pytest.raises(InputError, match=message) as caught:
        evaluate(**(change(arguments) | {"progress": done.append}))
    assert done == []
    assert all(word in str(caught.value) for word in ("expected", "got", "; "))


def test_an_unknown_suite_lists_the_known_ones(arguments: Arguments) -> None:
    """The message says what can be asked for."""
    with pytest.raises(UnknownName, match=r"unknown suite: expected one of \[quick, standard, thorough\], got 'slow'"):
        evaluate(**arguments, suite="slow")


def test_labelled_data_is_checked_too(held_out: Points) -> None:
    """The attacker's own sample passes the same gate, and its labels become int64."""
    data = LabelledData(held_out.inputs[:3], held_out.labels[:3].to(torch.int32))
    assert data.labels.dtype == torch.int64
    assert len(data) == 3
    with pytest.raises(InputError, match="one label per input"):
        LabelledData(held_out.inputs[:3], held_out.labels[:2])


def test_points_of_one_class_only_support_no_outcome(network: nn.Module, digits: Points) -> None:
    """The best constant answer is then always right: chance is 100 %, and whatever is left is void."""
    own = (digits.labels == 3).nonzero()[:, 0][-12:]
    report = evaluate(
        network,
        base=network,
        inputs=digits.inputs[own],
        labels=digits.labels[own],
        threat=ThreatModel("linf", (0.05,)),
        rng=torch.Generator().manual_seed(0),
    )
    assert report.data.chance_accuracy == 1.0
    assert {model.outcome for model in report.threat_models} == {"VOID"}
    assert all("chance_accuracy" in gain.void_because for model in report.threat_models for gain in model.gains)


def test_radii_are_sorted(network: nn.Module, held_out: Points) -> None:
    """In whatever order they come, the ladder climbs: the report is the same."""
    digests = set()
    for epsilons in ((0.05, 0.2, 0.1), (0.2, 0.1, 0.05)):
        report = evaluate(
            network,
            base=network,
            inputs=held_out.inputs[:8],
            labels=held_out.labels[:8],
            threat=ThreatModel("linf", epsilons),
            rng=torch.Generator().manual_seed(0),
        )
        digests.add(report.digest)
        assert [model.epsilons for model in report.threat_models] == [[0.05, 0.1, 0.2]] * 2
    assert len(digests) == 1
