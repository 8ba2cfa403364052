"""Gradient flow, gradient descent, and the exact amount by which descent leaves the level set.

Seen to fail when: eta^2 becomes eta in the identity; weight decay is applied once instead of squared; momentum adds the
gradient twice; the flow ascends; the flow's decay is exp(-lambda t); runs share one step size.
"""

import pytest
import torch

from ensemble import flow
from ensemble.activations import IDENTITY, RELU, TANH
from ensemble.errors import InputError
from tests.ensemble.flow.cases import any_inputs, matrix, normal, squared_loss, unit_inputs, units, weights

RATES = (8e-4, 4e-4, 2e-4, 1e-4)


@pytest.mark.parametrize("row", [IDENTITY, RELU, TANH], ids=lambda row: row.name)
def test_drift_of_gradient_descent_is_proportional_to_the_step(row) -> None:
    """At a fixed time the drift falls with slope 1.00 +- 0.03 in the step size, and is never below the flow's bound."""
    inputs = unit_inputs() if row is TANH else any_inputs()[:4]
    loss, quantity = squared_loss(row, inputs), units(row)
    drifts = []
    for rate in RATES:
        path = flow.gradient_descent(
            loss, weights(), quantity, flow.Descent(rate=rate, steps=round(0.08 / rate), record_every=10)
        )
        drifts.append(float(path.drift.max()))
    assert abs(flow.drift_slope(RATES, drifts) - 1) < 0.03
    assert drifts[-1] > 1e-6


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_drift_identity_is_exact(decay: float) -> None:
    """Q' = (1 - eta lambda)^2 Q + eta^2 Q(grad L) to rounding, for every generator and large steps."""
    path = flow.gradient_descent(
        squared_loss(IDENTITY, any_inputs()),
        weights(bias=True),
        matrix(IDENTITY),
        flow.Descent(rate=5e-3, steps=40, weight_decay=decay),
    )
    assert float(path.drift.max()) > 1e-2
    torch.testing.assert_close(path.quantities, path.predicted, rtol=0, atol=1e-12)


def test_momentum_breaks_the_identity() -> None:
    """With momentum the steps are no gradients, and what the identity predicts is not what happens."""
    path = flow.gradient_descent(
        squared_loss(RELU, any_inputs()),
        weights(bias=True),
        units(RELU),
        flow.Descent(rate=1e-3, steps=50, momentum=0.9),
    )
    assert float((path.quantities - path.predicted).abs().max()) > 1e-2


def test_descent_is_what_torch_does() -> None:
    """Momentum and weight decay follow torch.optim.SGD step by step."""
    p = {name: tensor.clone().requires_grad_() for name, tensor in weights().items()}
    loss = squared_loss(TANH, any_inputs())
    optimiser = torch.optim.SGD(p.values(), lr=0.01, momentum=0.7, weight_decay=0.2)
    for _ in range(6):
        optimiser.zero_grad()
        loss(p).backward()
        optimiser.step()
    ours = flow.gradient_descent(
        loss, weights(), units(TANH), flow.Descent(rate=0.01, steps=6, momentum=0.7, weight_decay=0.2)
    )
    for name in p:
        torch.testing.assert_close(ours.end[name], p[name].detach())


def test_flow_is_the_limit_of_descent() -> None:
    """Small steps end where the integrator ends, with an error proportional to the step."""
    loss = squared_loss(TANH, unit_inputs())
    end = flow.gradient_flow(loss, weights(), units(TANH), duration=0.2, points=2).end
    gaps = []
    for rate in (1e-3, 5e-4):
        there = flow.gradient_descent(
            loss, weights(), units(TANH), flow.Descent(rate=rate, steps=round(0.2 / rate))
        ).end
        gaps.append(max(float((there[name] - end[name]).abs().max()) for name in end))
    assert gaps[1] < 2e-3
    assert abs(gaps[0] / gaps[1] - 2) < 0.1


def test_weight_decay_shrinks_q_exponentially() -> None:
    """Along the flow with decay, Q(t) = Q(0) exp(-2 lambda t) for every generator."""
    path = flow.gradient_flow(
        squared_loss(IDENTITY, any_inputs()),
        weights(bias=True),
        matrix(IDENTITY),
        duration=0.1,
        points=3,
        weight_decay=2.0,
    )
    torch.testing.assert_close(path.quantities, path.predicted, rtol=0, atol=1e-8)
    assert float(path.drift.max()) > 0.1


def test_runs_are_one_program() -> None:
    """Runs on a leading axis, each with its own step size, are what they are alone."""
    U, V = normal(3, 2, 4), normal(3, 4, 2, seed=1)
    targets = normal(2, 2, seed=2)

    def loss(p):
        return ((p["U"] @ torch.tanh(p["V"]) - targets) ** 2).sum((-1, -2)) / 2

    rates = torch.tensor([1e-2, 3e-2, 1e-3], dtype=torch.float64)
    together = flow.gradient_descent(loss, {"U": U, "V": V}, units(TANH), flow.Descent(rate=rates, steps=9))
    for run in range(3):
        alone = flow.gradient_descent(
            loss, {"U": U[run], "V": V[run]}, units(TANH), flow.Descent(rate=float(rates[run]), steps=9)
        )
        torch.testing.assert_close(together.quantities[:, run], alone.quantities)
        torch.testing.assert_close(together.times[:, run], alone.times)


def test_a_flow_that_cannot_be_followed_is_refused() -> None:
    """A flow that runs away to infinity in finite time ends with an error, not with numbers."""
    with pytest.raises(InputError, match="gradient flow"):
        flow.gradient_flow(
            lambda p: -(p["x"] ** 4), {"x": torch.tensor(1.0, dtype=torch.float64)}, lambda p: p["x"], duration=1.0
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_flow_stays_on_its_device() -> None:
    """A loss that holds data on a GPU is followed there, and ends where it does on a CPU."""
    X, Y = any_inputs(), normal(12, 3, seed=5)

    def end(device: str) -> torch.Tensor:
        x, y = X.to(device), Y.to(device)
        path = flow.gradient_flow(
            lambda p: (torch.relu(x @ p["V"].T) @ p["U"].T - y).square().sum() / 2,
            {name: tensor.to(device) for name, tensor in weights().items()},
            units(RELU),
            duration=0.02,
            points=2,
        )
        assert path.end["U"].device.type == device
        assert float(path.drift.max()) < 1e-8
        return path.end["U"].cpu()

    torch.testing.assert_close(end("cuda"), end("cpu"), rtol=0, atol=1e-9)
