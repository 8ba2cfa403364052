"""Two lines in somebody's training loop, and what they tell.

Seen to fail when: the drift is measured from the last update; the step is not subtracted from the parameters before;
`broken` looks at the total drift (Adam would count as too large a step); frozen parameters are watched.
"""

import pytest
import torch
from torch import nn

from ensemble.errors import InputError
from ensemble.flow import ConservationMonitor
from tests.ensemble.flow.cases import any_inputs, normed_network, small, small_cnn


def trained(network: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> ConservationMonitor:
    """Train on mini-batches with a monitor in the loop."""
    inputs, labels = any_inputs(), torch.arange(12) % 3
    monitor = ConservationMonitor(network, inputs)
    for step in range(steps):
        batch = slice(step % 3 * 4, step % 3 * 4 + 4)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
        optimiser.step()
        monitor.update()
    return monitor


def mlp() -> nn.Module:
    """Return a perceptron with two sites."""
    return small(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.LeakyReLU(0.1), nn.Linear(5, 3)).train()


def test_small_steps_follow_the_flow() -> None:
    """With small plain steps nothing is broken, and all of the small drift is explained by the steps."""
    network = mlp()
    monitor = trained(network, torch.optim.SGD(network.parameters(), lr=1e-3), 30)
    drift = monitor.update()
    assert set(drift) == {"0 -> 2", "2 -> 4"}
    assert 0 < max(drift.values()) < 1e-3
    assert monitor.broken == ()


def test_large_steps_break_it_and_are_named_as_the_cause() -> None:
    """With large plain steps the drift is the sum of Q over the steps, exactly, whatever the mini-batches."""
    network = mlp()
    monitor = trained(network, torch.optim.SGD(network.parameters(), lr=0.5), 40)
    assert monitor.broken
    for row in monitor.report():
        assert row.from_updates is not None
        assert row.from_updates < 1e-12
        assert row.from_steps == pytest.approx(row.drift)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=3e-3),
        lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=1e-3, weight_decay=1.0),
    ],
    ids=["adam", "momentum", "weight decay"],
)
def test_other_updates_are_told_apart(make) -> None:
    """Updates that are no gradient steps move Q by something the steps do not explain."""
    network = mlp()
    monitor = trained(network, make(network.parameters()), 40)
    for row in monitor.report():
        assert row.from_updates is not None
        assert row.from_steps is not None
        assert row.from_updates > 5 * row.from_steps
    assert monitor.broken == ()


def test_the_drift_is_from_the_start() -> None:
    """Going back to the first weights brings the drift back to zero."""
    network = small_cnn()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    monitor = ConservationMonitor(network, torch.zeros(1, 1, 6, 6, dtype=torch.float64))
    with torch.no_grad():
        network[0].weight.mul_(2.0)
    assert monitor.update()["0 -> 3"] > 0.1
    network.load_state_dict(start)
    assert max(monitor.update().values()) == 0


def test_batch_statistics_are_watched_in_training_mode_only() -> None:
    """The law of weights under a BatchNorm needs batch statistics."""
    names = [row.name for row in ConservationMonitor(normed_network().train(), any_inputs()).report()]
    assert names == ["0 -> 3", "0 under 1"]
    names = [row.name for row in ConservationMonitor(normed_network(), any_inputs()).report()]
    assert names == ["0 -> 3"]


def test_frozen_networks_are_refused() -> None:
    """Where nothing is trained nothing is conserved by training."""
    with pytest.raises(InputError, match="unfreeze"):
        ConservationMonitor(mlp().requires_grad_(False), any_inputs())
