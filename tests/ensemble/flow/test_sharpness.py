"""Rate and sharpness against Q, and the spectrum by two independent routes.

Seen to fail when: Q enters without its square; the rate is the slope of the loss itself; the Hessian-vector product
loses its graph; Lanczos does not reorthogonalise; residuals leave out the last off-diagonal;
eigenvalues come smallest first.
"""

import pytest
import torch

from ensemble import flow
from ensemble.activations import IDENTITY, TANH
from ensemble.errors import InputError
from tests.ensemble.flow.cases import any_inputs, normal, rng, small_cnn, squared_loss, weights


def unit(quantity: float, y: float = 1.3):
    """Return the loss of one linear unit and its minimum with a wanted Q."""
    one = torch.ones(1, 1, dtype=torch.float64)
    U, V, _ = flow.go_to(y * one, one, quantity, IDENTITY)
    return (lambda p: (y - p["u"] * p["v"]).square().sum() / 2), {"u": U, "v": V}


@pytest.mark.parametrize("quantity", [0.0, 0.4, -2.0, 5.0])
def test_sharpness_of_one_unit(quantity: float) -> None:
    """At the minimum the non-zero Hessian eigenvalue is 2 sqrt(Q^2 + y^2), the other is 0."""
    loss, minimum = unit(quantity)
    values = torch.linalg.eigvalsh(flow.hessian(loss, minimum))
    assert float(values[1]) == pytest.approx(flow.unit_sharpness(quantity, 1.3), rel=1e-10)
    assert abs(float(values[0])) < 1e-10


@pytest.mark.parametrize("quantity", [0.0, 0.4, -2.0])
def test_rate_of_one_unit(quantity: float) -> None:
    """Gradient flow converges at the same number, from a point of the same Q elsewhere."""
    _, start = unit(quantity, y=1.5)
    loss, _ = unit(quantity)
    path = flow.gradient_flow(loss, start, lambda p: p["u"].square() - p["v"].square(), duration=3.0, points=31)
    assert float(flow.convergence_rate(path)) == pytest.approx(flow.unit_sharpness(quantity, 1.3), rel=0.01)


def test_larger_q_is_faster_and_sharper() -> None:
    """The order, for a network with many units: rebalanced away from 0, it converges faster and is sharper."""
    generator = rng(5)
    A, B = (torch.randn(2, 2, dtype=torch.float64, generator=generator) for _ in range(2))

    def loss(p) -> torch.Tensor:
        return (p["U"] @ p["V"] - A @ B).square().sum() / 2

    sharp = []
    for quantity in (0.0, 1.0, 4.0):
        U, V, _ = flow.go_to(A, B, quantity, IDENTITY)
        sharp.append(float(torch.linalg.eigvalsh(flow.hessian(loss, {"U": U, "V": V}))[-1]))
    assert sharp[0] < sharp[1] < sharp[2]


def test_hessian_vector_products_are_the_hessian() -> None:
    """Two reverse passes along a vector are the dense matrix times it, and a difference of gradients."""
    loss, p = squared_loss(TANH, any_inputs()), weights(bias=True)
    dense = flow.hessian(loss, p)
    vector = normal(len(dense), seed=60)
    torch.testing.assert_close(flow.hessian_product(loss, p)(vector), dense @ vector)
    step = 1e-5
    sizes = [tensor.numel() for tensor in p.values()]

    def gradient(sign: int) -> torch.Tensor:
        parts = vector.split(sizes)
        moved = {n: t + sign * step * v.reshape(t.shape) for (n, t), v in zip(p.items(), parts, strict=True)}
        return torch.cat([g.reshape(-1) for g in flow.loss_gradient(loss, moved).values()])

    torch.testing.assert_close((gradient(1) - gradient(-1)) / (2 * step), dense @ vector, rtol=1e-6, atol=1e-6)


def test_lanczos_finds_the_largest_eigenvalues() -> None:
    """For a convolutional network the Ritz values are the dense spectrum's top, within their own residuals."""
    network = small_cnn()
    inputs = normal(6, 1, 6, 6, seed=70)
    loss, p = flow.network_loss(network, inputs, torch.arange(6) % 3), flow.parameters_of(network)
    dense = torch.linalg.eigvalsh(flow.hessian(loss, p)).flip(0)
    found = flow.largest_eigenvalues(loss, p, count=4, steps=40, rng=rng(1))
    torch.testing.assert_close(found.eigenvalues, dense[:4], rtol=1e-7, atol=1e-8)
    assert float(found.residuals.max()) < 1e-4
    rough = flow.largest_eigenvalues(loss, p, count=1, steps=4, rng=rng(1))
    assert float((dense - rough.eigenvalues[0]).abs().min()) <= float(rough.residuals[0]) + 1e-12


def test_lanczos_stops_where_the_space_is_exhausted() -> None:
    """A Hessian of rank 1 ends after two steps and still gives its eigenvalue."""
    direction = normal(6, seed=61)
    found = flow.largest_eigenvalues(
        lambda p: (p["x"] @ direction).square() / 2, {"x": normal(6, seed=62)}, count=1, rng=rng(2)
    )
    assert float(found.eigenvalues[0]) == pytest.approx(float(direction @ direction), rel=1e-10)


def test_wrong_requests_are_refused() -> None:
    """More eigenvalues than steps, and a rate of too few points."""
    loss, p = squared_loss(TANH, any_inputs()), weights()
    with pytest.raises(InputError, match="count"):
        flow.largest_eigenvalues(loss, p, count=9, steps=8, rng=rng())
    path = flow.gradient_flow(loss, p, lambda q: q["U"].sum(), duration=0.01, points=2)
    with pytest.raises(InputError, match="positive losses"):
        flow.convergence_rate(path)
