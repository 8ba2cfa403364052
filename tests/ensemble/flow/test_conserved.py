"""Q along gradient flow, its gradient against the loss's, and every condition broken once.

Seen to fail when: the sign of the lower part is flipped; the factor 1/2 of one part is dropped; the degree is left out;
the bias is left out; V V^T becomes V^T V; the tanh integral loses its square; inputs are ignored (the
integral taken at V); <grad Q, grad L> is taken with the gradient of another loss; the softmax sum runs over inputs.
"""

import pytest
import torch
from torch import Tensor

from ensemble import flow
from ensemble.activations import GELU, IDENTITY, LEAKY_RELU, RADIAL, RELU, SIGMOID, SIN, SQUARE, TANH, Activation, power
from ensemble.errors import InputError
from tests.ensemble.flow.cases import Case, any_inputs, broken_cases, conserved_cases, normal, squared_loss, weights

CONSERVED = 1e-8
ORTHOGONAL = 1e-12


@pytest.mark.parametrize("case", conserved_cases(), ids=lambda case: case.name)
def test_gradient_flow_conserves_it(case: Case) -> None:
    """Along float64 gradient flow no value drifts by more than 1e-8 of the squared norms, and the loss does fall."""
    path = case.path()
    assert float(path.losses[-1]) < 0.98 * float(path.losses[0])
    assert case.relative_drift(path) <= CONSERVED


@pytest.mark.parametrize("case", conserved_cases(), ids=lambda case: case.name)
def test_its_gradient_is_orthogonal_to_the_loss(case: Case) -> None:
    """<grad Q, grad L> = 0 by autograd, without integrating anything."""
    cosines = flow.flow_cosines(case.quantity, case.loss, case.parameters)
    assert float(cosines.abs().max()) < ORTHOGONAL


@pytest.mark.parametrize("case", broken_cases(), ids=lambda case: case.name)
def test_each_condition_is_needed(case: Case) -> None:
    """Without its condition the quantity drifts by more than a hundred times what is allowed, and is not orthogonal."""
    assert case.relative_drift(case.path(tolerance=1e-8)) > 100 * CONSERVED
    cosines = flow.flow_cosines(case.quantity, case.loss, case.parameters)
    assert float(cosines.abs().max()) > 1e-4


def test_one_normalisation_for_all() -> None:
    """Near zero every elementwise activation with slope 1 and every homogeneous one of degree 1 has the linear Q."""
    small = {name: 1e-4 * tensor for name, tensor in weights().items()}
    linear = flow.conserved_quantity(small["U"], small["V"], IDENTITY)
    for row in (RELU, LEAKY_RELU, TANH, SIN):
        torch.testing.assert_close(flow.conserved_quantity(small["U"], small["V"], row), linear, rtol=1e-6, atol=0)
    by_hand = (small["U"].square().sum() - small["V"].square().sum()) / 2
    torch.testing.assert_close(linear, by_hand)


def test_total_units_and_matrix_agree() -> None:
    """The total is the sum over units, and the trace of the matrix of all generators."""
    p = weights(bias=True)
    for row in (IDENTITY, RELU, SQUARE, power(3)):
        total = flow.conserved_quantity(p["U"], p["V"], row, bias=p["b"])
        torch.testing.assert_close(flow.unit_quantities(p["U"], p["V"], row, bias=p["b"]).sum(), total)
        torch.testing.assert_close(flow.conserved_matrix(p["U"], p["V"], row, bias=p["b"]).trace(), total)
    full = flow.conserved_matrix(p["U"], p["V"], IDENTITY)
    torch.testing.assert_close(full, (p["U"].T @ p["U"] - p["V"] @ p["V"].T) / 2)
    assert float((full - torch.diag(full.diagonal())).abs().max()) > 0.1
    relu = flow.conserved_matrix(p["U"], p["V"], RELU)
    torch.testing.assert_close(relu, torch.diag(full.diagonal()))


@pytest.mark.parametrize("row", [TANH, SIGMOID, SIN], ids=lambda row: row.name)
def test_integrals_are_antiderivatives_of_sigma_over_its_slope(row: Activation) -> None:
    """The derivative of the lower part is sigma/sigma', against autograd of the activation itself."""
    v = torch.linspace(-1.2, 1.2, 25, dtype=torch.float64).requires_grad_()
    U, V = torch.zeros(1, 1, dtype=torch.float64), v.reshape(1, -1)
    (lower,) = torch.autograd.grad(-flow.conserved_quantity(U, V, row), v)
    values = row.function(v)
    (slope,) = torch.autograd.grad(values.sum(), v)
    torch.testing.assert_close(lower, (values / slope).detach())


def test_runs_are_batched_along_leading_axes() -> None:
    """Many runs are one call, and each is what it is alone."""
    U, V, b = normal(4, 3, 5), normal(4, 5, 2, seed=1), normal(4, 5, seed=2)
    together = flow.conserved_quantity(U, V, RELU, bias=b)
    alone = [flow.conserved_quantity(U[i], V[i], RELU, bias=b[i]) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(alone))
    assert flow.conserved_matrix(U, V, IDENTITY, bias=b).shape == (4, 5, 5)


def test_gradient_in_closed_form() -> None:
    """The gradient of Q is (alpha U, -V, -b)."""
    p = weights(bias=True)
    U, V, b = flow.conserved_gradient(p["U"], p["V"], SQUARE, bias=p["b"])
    torch.testing.assert_close(U, 2 * p["U"])
    torch.testing.assert_close(V, -p["V"])
    torch.testing.assert_close(b, -p["b"])


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda U, V: flow.conserved_quantity(U, V, RADIAL), "no symmetric generator"),
        (lambda U, V: flow.conserved_quantity(U, V, GELU), "degree or an antiderivative"),
        (lambda U, V: flow.conserved_quantity(U, V, TANH, bias=V[:, 0]), "freeze it"),
        (lambda U, V: flow.conserved_quantity(V, U, RELU), "hidden"),
        (lambda U, V: flow.conserved_quantity(U, V, RELU, bias=V[0]), "bias"),
        (lambda U, V: flow.unit_quantities(U, V, flow.radial_power(-1.0)), "total"),
    ],
    ids=["rotations", "gelu", "bias of tanh", "exchanged", "bias of another size", "units of radial"],
)
def test_what_is_not_conserved_is_refused(call, reason: str) -> None:
    """An activation without a law, and weights that do not fit, raise and say what is missing."""
    with pytest.raises(InputError, match=reason):
        call(weights()["U"], weights()["V"])


def test_directional_derivative_is_the_limit_of_differences() -> None:
    """Two reverse passes give what a finite difference gives."""
    p = weights(bias=True)
    direction = {name: normal(*tensor.shape, seed=20) for name, tensor in p.items()}
    loss = squared_loss(TANH, any_inputs())

    def at(t: float) -> Tensor:
        return loss({name: p[name] + t * direction[name] for name in p})

    torch.testing.assert_close(
        flow.directional_derivative(loss, p, direction), (at(1e-5) - at(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-6
    )
