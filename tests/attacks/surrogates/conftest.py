"""What attackers of the small digits network hold: labelled points of their own, fresh members, collected weights."""

import pytest
import torch
from torch import Tensor, nn

from attacks.data import LabelledData
from attacks.surrogates import CollectedWeights, FreshMembers, LgvSettings, recipe_of
from ensemble import SymmetryEnsemble, network_digest
from tests.attacks.conftest import Points


@pytest.fixture(scope="session")
def sample(digits: Points) -> LabelledData:
    """Points that are neither trained on, nor calibrated on, nor evaluated."""
    return LabelledData(digits.inputs[1600:], digits.labels[1600:])


@pytest.fixture(scope="session")
def fresh(network: nn.Module, members: SymmetryEnsemble, sample: LabelledData) -> FreshMembers:
    """Three members of the attacker's own, with the target's recipe."""
    return FreshMembers(network, network_digest(network), recipe_of(members), sample.inputs, seed=5, count=3)


@pytest.fixture(scope="session")
def fresh_tensors(fresh: FreshMembers) -> dict[str, Tensor]:
    """The same, made."""
    return fresh.prepare()


@pytest.fixture(scope="session")
def lgv(network: nn.Module, sample: LabelledData) -> CollectedWeights:
    """Weights collected from the digits network, two epochs of them."""
    return CollectedWeights(network, network_digest(network), sample, seed=5, settings=LgvSettings(epochs=2))


@pytest.fixture(scope="session")
def lgv_tensors(lgv: CollectedWeights) -> dict[str, Tensor]:
    """The same, made."""
    return lgv.prepare()


@pytest.fixture
def normalised(digits: Points) -> nn.Module:
    """A network with BatchNorm and dropout, trained a little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 10)
        )
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for batch in torch.arange(600).split(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(digits.inputs[batch]), digits.labels[batch]).backward()
            optimiser.step()
    return model.eval()
