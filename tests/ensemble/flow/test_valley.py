"""Moves along the valley change Q as wanted and the function not at all; straight lines leave it.

Seen to fail when: s and 1/s are exchanged; q changes its sign in the closed form; the degree is left out of U's power;
biases stay behind; a reader's columns are scaled in the order of its rows; dead units are skipped; the orbit path is
the straight one; sweeps are never over-relaxed; the barrier is measured from the lower end.
"""

import itertools

import pytest
import torch
from torch import Tensor, nn

from ensemble import flow
from ensemble.activations import IDENTITY, LEAKY_RELU, RELU, SQUARE, TANH, power
from ensemble.errors import InputError
from tests.ensemble.cases import ResidualNet, images, mlp, plain_cnn, randomised
from tests.ensemble.flow.cases import any_inputs, normal, rng, small, weights
from tests.ensemble.networks import GroupedNet, LinearStream, Sequences, SqueezeExciteNet

F64 = torch.float64


def answers(U: Tensor, V: Tensor, b: Tensor | None, activation) -> Tensor:
    """Return U sigma(V x + b)."""
    z = any_inputs() @ V.T if b is None else any_inputs() @ V.T + b
    return activation.function(z) @ U.T


@pytest.mark.parametrize("row", [IDENTITY, RELU, LEAKY_RELU, SQUARE, power(3)], ids=lambda row: row.name)
@pytest.mark.parametrize("target", [0.0, 3.5, -2.0, 1e4, -1e4])
def test_go_to_hits_q_and_keeps_the_function(row, target: float) -> None:
    """Every unit gets the wanted Q to 1e-10, positive or negative, small or extreme, in closed form or by bisection."""
    p = weights(bias=True)
    U, V, b = flow.go_to(p["U"], p["V"], target, row, bias=p["b"])
    found = flow.unit_quantities(U, V, row, bias=b)
    torch.testing.assert_close(found, torch.full((5,), target, dtype=F64), rtol=1e-10, atol=1e-10)
    before = answers(p["U"], p["V"], p["b"], row)
    torch.testing.assert_close(answers(U, V, b, row), before, rtol=0, atol=1e-10 * float(before.abs().max()))


def test_balance_is_the_least_norm_of_the_orbit() -> None:
    """Q = 0 minimises |u|^2 + |v|^2 + b^2 of a unit: any other target has more."""
    p = weights(bias=True)
    sizes = []
    for target in (0.0, 0.05, -0.05):
        U, V, b = flow.go_to(p["U"], p["V"], target, RELU, bias=p["b"])
        assert b is not None
        sizes.append(float(U.square().sum() + V.square().sum() + b.square().sum()))
    assert sizes[0] < min(sizes[1:])


@pytest.mark.parametrize("row", [IDENTITY, RELU, SQUARE], ids=lambda row: row.name)
def test_moving_along_a_generator_raises_its_q(row) -> None:
    """Along exp(tM) the function stays and Q_M grows at every step, at the rate |M theta|^2."""
    p = weights(bias=True)
    M = normal(5, 5, seed=50)
    M = M + M.T if row is IDENTITY else torch.diag(M.diagonal())
    alpha = row.degree

    def q(t: float) -> tuple[float, float, Tensor]:
        U, V, b = flow.move(p["U"], p["V"], M, t, row, bias=p["b"])
        assert b is not None
        value = (M * flow.conserved_matrix(U, V, row, bias=b)).sum()
        speed = (alpha * U @ M).square().sum() + (M @ V).square().sum() + (M @ b).square().sum()
        return float(value), float(speed), answers(U, V, b, row)

    values = [q(t) for t in (-0.3, -0.1, 0.0, 0.1, 0.3)]
    assert all(a[0] < b[0] for a, b in itertools.pairwise(values))
    slope = (q(1e-5)[0] - q(-1e-5)[0]) / 2e-5
    assert slope == pytest.approx(values[2][1], rel=1e-7)
    for _, _, outputs in values:
        torch.testing.assert_close(outputs, values[2][2], rtol=0, atol=1e-11 * float(outputs.abs().max()))


@pytest.mark.parametrize("make", [mlp, plain_cnn, ResidualNet, SqueezeExciteNet, LinearStream, GroupedNet, Sequences])
@pytest.mark.parametrize("target", [0.0, 1.5, -0.7])
def test_a_trained_network_is_rebalanced(make, target: float) -> None:
    """All units of all sites are at the target to 1e-10, streams and BatchNorms included; the function is the same."""
    network = randomised(make(), dtype=F64)
    inputs = torch.rand(6, 6, dtype=F64, generator=rng(2)) if make is mlp else images(6, dtype=F64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    moved = flow.rebalance(network, inputs, target)
    for values in flow.coordinates(moved, inputs).values():
        torch.testing.assert_close(values, torch.full_like(values, target), rtol=0, atol=1e-10)
    with torch.no_grad():
        expected = network(inputs)
        torch.testing.assert_close(moved(inputs), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_targets_may_differ_by_site_and_unit() -> None:
    """A mapping moves the sites it names to their own values, unit by unit."""
    network = randomised(mlp(), dtype=F64)
    inputs = torch.rand(3, 6, dtype=F64, generator=rng(2))
    wanted = torch.linspace(-1, 1, 10, dtype=F64)
    found = flow.coordinates(flow.rebalance(network, inputs, {"0 -> 2": wanted, "2 -> 4": 0.25}), inputs)
    torch.testing.assert_close(found["0 -> 2"], wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(found["2 -> 4"], torch.full((9,), 0.25, dtype=F64), rtol=0, atol=1e-10)


def test_float32_networks_lose_only_rounding() -> None:
    """Rebalancing works in float64 inside, so a float32 network's outputs move by rounding only."""
    network = randomised(plain_cnn())
    moved = flow.rebalance(network, images(4))
    with torch.no_grad():
        torch.testing.assert_close(moved(images(4)), network(images(4)), rtol=1e-4, atol=1e-5)


def test_a_long_chain_of_layers_takes_few_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten hidden layers within 200 sweeps, where plain ones take 500; with too few an error says what to do."""
    layers = [layer for _ in range(10) for layer in (nn.Linear(8, 8), nn.ReLU())]
    network = small(*layers, nn.Linear(8, 3))
    monkeypatch.setattr("ensemble.flow.valley.SWEEPS", 200)
    for values in flow.coordinates(flow.rebalance(network, any_chain_input(), 5.0), any_chain_input()).values():
        torch.testing.assert_close(values, torch.full_like(values, 5.0), rtol=0, atol=1e-9)
    monkeypatch.setattr("ensemble.flow.valley.SWEEPS", 3)
    with pytest.raises(InputError, match="fewer sites"):
        flow.rebalance(network, any_chain_input(), 5.0)


def any_chain_input() -> Tensor:
    """Return one input of the chain."""
    return normal(1, 8, seed=13)


def dead_network() -> nn.Module:
    """Return a perceptron whose unit 2 reaches no output."""
    network = small(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        network[2].weight[:, 2] = 0
    return network


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: flow.rebalance(dead_network(), any_inputs()), r"0 -> 2.*dead units 2"),
        (lambda: flow.rebalance(small(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), any_inputs()), "homogeneous"),
        (lambda: flow.rebalance(dead_network(), any_inputs(), {"1 -> 2": 0.0}), "1 -> 2"),
        (lambda: flow.go_to(weights()["U"], weights()["V"], 0.0, TANH), "degree"),
        (lambda: flow.move(weights()["U"], weights()["V"], normal(5, 5), 1.0, IDENTITY), "symmetric generator"),
        (lambda: flow.move(weights()["U"], weights()["V"], torch.ones(5, 5, dtype=F64), 1.0, RELU), "generator"),
    ],
    ids=["dead unit", "no site", "unknown site", "tanh", "not symmetric", "mixes relu units"],
)
def test_moves_that_do_not_exist_are_refused(call, reason: str) -> None:
    """A dead unit has no balanced point, tanh no scaling, ReLU no mixing."""
    with pytest.raises(InputError, match=reason):
        call()


def test_the_valley_is_curved() -> None:
    """Between two points of one function the orbit has no barrier, and the straight line has one."""
    network = randomised(plain_cnn(), dtype=F64)
    inputs = images(12, dtype=F64)
    wanted = network(inputs).detach()

    def loss(parameters) -> Tensor:
        return (torch.func.functional_call(network, parameters, (inputs,)) - wanted).square().mean()

    start, end = (
        flow.parameters_of(point) for point in flow.sample_valley(network, inputs, count=2, scale=1.0, rng=rng(3))
    )
    orbit = flow.path_loss(flow.orbit_path(start, end), loss)
    straight = flow.path_loss(flow.straight_path(start, end), loss)
    assert float(orbit.losses.max()) < 1e-20
    assert orbit.barrier < 1e-20
    assert straight.barrier > 0.05
    with pytest.raises(InputError, match="signs"):
        flow.orbit_path(start, {name: -tensor for name, tensor in end.items()})


def test_a_scaling_of_one_site_is_what_it_says() -> None:
    """`scaled` multiplies the lower weights by the factors; factors that are not positive are refused."""
    network = small(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    (law,) = flow.unit_laws(network, any_inputs())
    factors = torch.linspace(0.5, 2.0, 5, dtype=F64)
    moved = flow.scaled(network, law, factors)
    torch.testing.assert_close(moved[0].weight.detach(), network[0].weight.detach() * factors[:, None])
    torch.testing.assert_close(moved[2].weight.detach(), network[2].weight.detach() / factors)
    with pytest.raises(InputError, match="positive"):
        flow.scaled(network, law, -factors)
