"""The null test passes for an exact symmetry and for nothing else.

Seen to fail with: the member difference left out; the cosine of a gradient with itself; verdict changes counted without
the margin; the logit scale squared; the first network's run taken for both; the bits compared after rounding.
"""

from typing import Any

import pytest
import torch
from torch import nn

import ensemble
from attacks import null_test
from attacks.checks.symmetry import SEPARATE_RUNS
from attacks.evaluation import Evaluation
from attacks.null_test import bit_exactness, compare_exactly
from attacks.targets import wrap
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


def _numbers(network: nn.Module, other: nn.Module, points: Points) -> dict[str, float]:
    base = wrap(network, bounds=BOX, example=points.inputs[:4])
    model = wrap(other, bounds=BOX, example=points.inputs[:4])
    return compare_exactly(base, model, points.inputs, points.labels, points.inputs, block=30)


@pytest.mark.parametrize("powers_of_two", [False, True])
def test_an_exact_ensemble_is_the_base(network: nn.Module, held_out: Points, powers_of_two: bool) -> None:
    """Logits within 1e-5 of their scale, parallel gradients, no verdict that differs."""
    rng = torch.Generator().manual_seed(0)
    exact = ensemble.controls.exact_ensemble(
        network, held_out.inputs[:1], members=3, rng=rng, powers_of_two=powers_of_two
    )
    found = _numbers(network, exact, held_out)
    assert found["logit_difference"] <= 1e-5
    assert found["gradient_cosine_mean"] >= 0.999
    assert found["verdict_changes_beyond_margin"] == 0
    assert found["gradients_compared"] == 100


def test_scalings_by_powers_of_two_are_bit_exact(network: nn.Module, held_out: Points) -> None:
    """Without a permutation the members' logits are the base's, to the last bit."""
    rng = torch.Generator().manual_seed(0)
    exact = ensemble.controls.exact_ensemble(network, held_out.inputs[:1], members=2, rng=rng, powers_of_two=True)
    for logits in exact.member_logits(held_out.inputs):
        assert torch.equal(logits, network(held_out.inputs))


def test_bit_exactness_is_asked_where_it_can_be_answered(network: nn.Module, held_out: Points) -> None:
    """Equal without a BatchNorm at a site; not asked with one, or where no site can be scaled."""
    found = bit_exactness(wrap(network, bounds=BOX, example=held_out.inputs[:4]), held_out.inputs, block=30, seed=0)
    assert found == {"equal": True, "compared": 2 * 100 * 10, "differ": 0}
    folded = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10)).eval()
    for other, reason in ((folded, "BatchNorm"), (smooth, "expected a site")):
        found = bit_exactness(wrap(other, bounds=BOX, example=held_out.inputs[:4]), held_out.inputs, block=30, seed=0)
        assert found["equal"] is None
        assert reason in found["reason"]


def test_one_wrong_bit_is_counted(network: nn.Module, held_out: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that are moved by one unit in the last place of one weight are noticed."""

    def nearly_exact(*arguments: Any, **settings: Any) -> ensemble.SymmetryEnsemble:
        exact = ensemble.controls.exact_ensemble(*arguments, **settings)
        weight = exact.layers[-1].weight
        weight[0] = torch.nextafter(weight[0], torch.full_like(weight[0], torch.inf))
        return exact

    monkeypatch.setattr(null_test, "exact_ensemble", nearly_exact)
    found = bit_exactness(wrap(network, bounds=BOX, example=held_out.inputs[:4]), held_out.inputs, block=30, seed=0)
    assert found["equal"] is False
    assert found["compared"] / 4 < found["differ"] <= found["compared"] / 2  # most logits of the one member moved


def test_separate_white_box_runs_agree_on_an_exact_ensemble(results: dict[str, dict[str, Any]]) -> None:
    """The base and its exact members, each attacked by itself, fall on the same points, at radii where some stand."""
    (probes,) = [result for result in results.values() if result["attack"] == "probes"]
    runs = probes["numbers"]["null_test"]["separate_runs"]
    assert runs == {"compared": 3 * 100, "differ": 0}


def test_a_weaker_attack_on_one_of_the_two_is_noticed(
    evaluation: Evaluation, members: ensemble.SymmetryEnsemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another function in place of the exact members, the separate runs differ on more than the share allowed."""
    monkeypatch.setattr(null_test, "exact_ensemble", lambda *_, **__: members)
    base = evaluation.jury.models["base"]
    runs = null_test.null_test(base, evaluation.inputs, evaluation.labels, evaluation, 0)["separate_runs"]
    assert runs["differ"] > SEPARATE_RUNS * runs["compared"]


def test_a_symmetry_that_is_only_approximate_is_noticed(
    network: nn.Module, members: ensemble.SymmetryEnsemble, held_out: Points
) -> None:
    """The real ensemble differs from its base in logits and gradients."""
    found = _numbers(network, members, held_out)
    assert found["logit_difference"] > 1e-3
    assert found["gradient_cosine_mean"] < 0.999


class _OneOff(nn.Module):
    """Two members that cancel in the mean: one raised, one lowered, so only a look at the members finds them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The base's own logits."""
        logits: torch.Tensor = self.network(inputs)
        return logits

    def member_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Members that are not the base."""
        logits = self.network(inputs)
        return torch.stack([logits + 1, logits - 1])


def test_members_are_looked_at_one_by_one(network: nn.Module, held_out: Points) -> None:
    """Errors that cancel in the served answer are found in the members."""
    assert _numbers(network, _OneOff(network), held_out)["logit_difference"] > 1e-3


def test_a_flip_within_rounding_of_the_boundary_is_forgiven() -> None:
    """A margin of 1e-6 of the scale may flip; a margin of 0.1 of it may not."""

    class Fixed(nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = shift
            self.eval()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Two logits of scale 1; the second is shifted."""
            x = inputs.flatten(1)
            return torch.stack([x[:, 0], x[:, 1] + self.shift], 1)

    x = torch.tensor([[1.0, 1.0 - 1e-6], [1.0, 0.2]])[:, None, None]
    points = Points(x, torch.tensor([0, 0]))
    near = _numbers(Fixed(0.0), Fixed(3e-6), points)
    assert (near["verdict_changes"], near["verdict_changes_beyond_margin"]) == (1, 0)
    far = _numbers(Fixed(0.0), Fixed(0.9), points)
    assert (far["verdict_changes"], far["verdict_changes_beyond_margin"]) == (2, 1)
