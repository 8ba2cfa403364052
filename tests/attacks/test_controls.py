"""The scrambled control must know nothing, wherever the ensemble acts.

Seen to fail when: layers outside the ensemble are never scrambled; they always are; they are scrambled from the first
on.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.controls import baselines
from attacks.data import LabelledData
from attacks.jury import SCRAMBLED
from ensemble.controls import exact_ensemble, layers_outside
from ensemble.graph import trace
from ensemble.members import SymmetryEnsemble
from ensemble.sites import sites_of
from tests.attacks.conftest import Points


class Residual(nn.Module):
    """A classifier whose last block adds little: scrambled alone it takes nothing away."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 48), nn.Linear(48, 32)
        self.up, self.down = nn.Linear(32, 16), nn.Linear(16, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 10]`."""
        hidden = self.second(self.first(x.flatten(1)).relu())
        logits: Tensor = self.head(hidden + 0.02 * self.down(self.up(hidden).relu()))
        return logits


@pytest.fixture(scope="module")
def residual(digits: Points) -> nn.Module:
    """That classifier, trained on the first 1000 digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Residual()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(80):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(digits.inputs[:1000]), digits.labels[:1000]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def _acting_on(network: nn.Module, digits: Points, *layers: str) -> SymmetryEnsemble:
    """Two exact members that change the sites of these layers."""
    example = digits.inputs[:1]
    sites = [s for s in sites_of(trace(network, example)) if {part.ref.layer for part in s.parts} & set(layers)]
    return exact_ensemble(network, example, members=2, rng=torch.Generator().manual_seed(1), places=sites)


def _control(target: nn.Module, points: Points, **settings: Any) -> tuple[Any, Any]:
    data = LabelledData(points.inputs, points.labels)
    given: dict[str, Any] = {"seed": 3, "mode": "prob", "validation": None, "independents": ()} | settings
    found = baselines(target, example=points.inputs[:2], points=data, **given)
    return found.networks[SCRAMBLED], found.notes[SCRAMBLED]["layers_outside"]


def test_a_control_that_still_answers_is_scrambled_further(
    residual: nn.Module, digits: Points, held_out: Points
) -> None:
    """Members that change the last block only: layers before it are scrambled too, the last ones first."""
    target = _acting_on(residual, digits, "up", "down")
    assert [ref.layer for ref in layers_outside(target)] == ["second", "first"]
    control, further = _control(target, held_out)
    changed = [layer.ref.layer for layer in control.layers]
    assert further >= 1
    assert changed[2:] == ["second", "first"][:further]
    assert (control(held_out.inputs).argmax(1) == held_out.labels).float().mean() < 0.3
    assert (target(held_out.inputs).argmax(1) == held_out.labels).float().mean() > 0.8


def test_a_control_that_knows_nothing_is_left_alone(residual: nn.Module, digits: Points, held_out: Points) -> None:
    """Members that change the front: scrambling what they change is enough."""
    target = _acting_on(residual, digits, "first", "second")
    control, further = _control(target, held_out)
    assert further == 0
    assert {layer.ref.layer for layer in control.layers} == {"first", "second"}


def test_the_number_of_layers_is_found_once(
    residual: nn.Module, digits: Points, held_out: Points, tmp_path: Path
) -> None:
    """With a folder the search is kept; the control is the same from there."""
    target = _acting_on(residual, digits, "up", "down")
    first, second = (_control(target, held_out, folder=tmp_path) for _ in range(2))
    assert len(list(tmp_path.iterdir())) == 1
    assert torch.equal(first[0](held_out.inputs), second[0](held_out.inputs))
