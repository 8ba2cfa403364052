"""Each positive control turns the status UNRELIABLE, and a network trained against attacks does not.

Seen to fail when: B6 is made to pass; B11 compares with nothing; A5 is made to pass; A3 measures after a projection
onto the ball; any FAIL in A or B no longer decides the status; the killer is the network itself.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks import EvaluationReport, ThreatModel, evaluate
from attacks.data import DataDescription
from attacks.gradient import KEEP_SERVED_MARGIN, pgd
from attacks.ladder import craft
from attacks.positive_controls import GradientKiller, NoisyInput, RoundedInput, SaturatedLogits, WrongClamp
from attacks.targets import wrap
from tests.attacks.conftest import Points, small_network

THREAT = ThreatModel("linf", (0.1, 0.2, 0.3))


def _report(target: nn.Module, base: nn.Module, points: Points, threat: ThreatModel = THREAT) -> EvaluationReport:
    return evaluate(
        target,
        base=base,
        inputs=points.inputs,
        labels=points.labels,
        threat=threat,
        data=DataDescription("digits", ids=tuple(map(str, range(len(points.labels)))), used_ids=("x",)),
        rng=torch.Generator().manual_seed(0),
    )


def _failed(report: EvaluationReport) -> set[str]:
    return {check.id for check in report.checks if check.status == "FAIL"}


CONTROLS: dict[str, tuple[Callable[[nn.Module], nn.Module], set[str]]] = {
    "a softmax without a derivative": (GradientKiller, {"B6", "B11"}),
    "logits that saturate the loss": (SaturatedLogits, {"B11"}),
    "rounded inputs": (lambda network: RoundedInput(network, levels=3), {"B6", "B11"}),
    "fresh noise": (NoisyInput, {"A5"}),
}


@pytest.mark.parametrize("name", list(CONTROLS))
def test_a_control_makes_the_report_unreliable(name: str, network: nn.Module, held_out: Points) -> None:
    """The checks made for this fault fail, the status follows, and each failure comes with a remedy."""
    build, expected = CONTROLS[name]
    report = _report(build(network), network, held_out)
    assert expected <= _failed(report)
    assert report.status.value == "UNRELIABLE"
    assert report.headline.sentence.startswith("[UNRELIABLE]")


def test_a_protocol_with_the_wrong_clamp_makes_the_report_unreliable(
    network: nn.Module, held_out: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data in [-0.5, 0.5], clipped to [0, 1] after two steps: the examples lie far outside the ball."""
    shifted = Points(held_out.inputs - 0.5, held_out.labels)
    centred = nn.Sequential(_Plus(0.5), network).eval()
    threat = ThreatModel("linf", (0.05, 0.1), bounds=(-0.5, 0.5))

    def as_published(row: Any, norm: str, **_: Any) -> WrongClamp:
        return WrongClamp(norm)

    for module in ("attacks.working", "attacks.crafting"):
        monkeypatch.setattr(f"{module}.build_attack", as_published)
    report = _report(centred, centred, shifted, threat)
    assert "A3" in _failed(report)
    assert report.status.value == "UNRELIABLE"


class _Plus(nn.Module):
    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


@pytest.fixture(scope="module")
def hardened(digits: Points) -> nn.Module:
    """A small classifier trained on PGD examples of radius 0.15."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = small_network()
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        attack = pgd("linf", steps=4, rel_stepsize=0.4, random_start=True, keep=KEEP_SERVED_MARGIN)
        near = ThreatModel("linf", (0.15,))
        for _ in range(20):
            for batch in torch.randperm(1000).split(100):
                x, y = digits.inputs[batch], digits.labels[batch]
                surrogate = wrap(model.eval(), bounds=(0.0, 1.0), example=x[:2])
                x = craft(attack, surrogate, x, y, near).examples[0]
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimiser.step()
    return model.eval().requires_grad_(False)


def test_a_network_trained_against_attacks_is_not_accused(
    hardened: nn.Module, network: nn.Module, held_out: Points
) -> None:
    """It keeps more than a plain one at its radius, and no check of the evaluation fails."""
    near = ThreatModel("linf", (0.05, 0.1, 0.15))
    report = _report(hardened, network, held_out, near)
    head = report.headline
    assert head.robust_accuracy.k > head.base_robust_accuracy.k + 20
    assert _failed(report) == set()
    assert report.status.value != "UNRELIABLE"


def test_the_killer_answers_what_the_network_answers(network: nn.Module, held_out: Points) -> None:
    """It hides the gradient and nothing else."""
    answers = network(held_out.inputs).argmax(1)
    for control in (GradientKiller(network), SaturatedLogits(network)):
        assert torch.equal(control(held_out.inputs).argmax(1), answers)
