"""A small digits classifier, a real ensemble of it, and one finished evaluation, shared by the attack tests."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ensemble
from attacks import EvaluationReport, ThreatModel
from attacks.data import DataDescription, LabelledData
from attacks.evaluation import Evaluation
from attacks.shards import merge, plan, run_shard


@dataclass(frozen=True)
class Points:
    """Inputs `[n 1 8 8]` in [0, 1] with their labels."""

    inputs: Tensor
    labels: Tensor


def small_network() -> nn.Module:
    """Return an untrained two-layer convolutional classifier for digits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


@pytest.fixture(scope="session")
def digits() -> Points:
    """All digits, in a fixed shuffled order."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    return Points(inputs[order], torch.tensor(data.target, dtype=torch.int64)[order])


@pytest.fixture(scope="session")
def network(digits: Points) -> nn.Module:
    """A digits classifier trained on the first 1000 points, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = small_network()
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(12):
            for batch in torch.randperm(1000).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(digits.inputs[batch]), digits.labels[batch]).backward()
                optimiser.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def held_out(digits: Points) -> Points:
    """A hundred points that were used neither for training nor for calibration."""
    return Points(digits.inputs[1500:1600], digits.labels[1500:1600])


@pytest.fixture(scope="session")
def members(network: nn.Module, digits: Points) -> ensemble.SymmetryEnsemble:
    """A real two-member ensemble, generated quickly."""
    recipe = ensemble.Recipe(search_steps=5, crafting_radii=())
    rng = torch.Generator().manual_seed(3)
    return ensemble.generate(network, digits.inputs[1000:1400], members=2, recipe=recipe, rng=rng)


@pytest.fixture(scope="session")
def threat() -> ThreatModel:
    """Three radii around the place where the small network breaks."""
    return ThreatModel("linf", (0.05, 0.1, 0.2))


@pytest.fixture(scope="session")
def evaluation(
    members: nn.Module, network: nn.Module, digits: Points, held_out: Points, threat: ThreatModel
) -> Evaluation:
    """The evaluation that most tests look at: three blocks, the last one short."""
    ids = tuple(f"digits-{index}" for index in range(len(held_out.labels)))
    return Evaluation(
        target=members,
        base=network,
        inputs=held_out.inputs,
        labels=held_out.labels,
        threat=threat,
        seed=7,
        data=DataDescription("digits", "test", "lossless", ids=ids, used_ids=("digits-train-0",)),
        attacker=LabelledData(digits.inputs[1600:], digits.labels[1600:]),
        block=40,
    )


@pytest.fixture(scope="session")
def results(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """The results of all its shards."""
    return {shard.key: run_shard(shard, evaluation) for shard in plan(evaluation)}


@pytest.fixture(scope="session")
def report(evaluation: Evaluation, results: dict[str, dict[str, Any]]) -> EvaluationReport:
    """Its report."""
    return merge(evaluation, results)
