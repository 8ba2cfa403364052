"""Every row of the activation table, against its definition.

Seen to fail: a positive group for square (its output action then misses the sign); tanh with plain permutations is
not caught and need not be (a subgroup); sigmoid's antiderivative without its linear term; degree 1 for square.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from ensemble.activations import IDENTITY, RADIAL, TABLE, Activation, activation, power
from ensemble.errors import UnknownName
from ensemble.groups import GeneralLinear, identity
from tests.ensemble.cases import generator

ROWS = [*TABLE, power(2), power(3)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@given(seed=st.integers(0, 2**31), hidden=st.integers(1, 6))
def test_activation_commutes_with_its_exact_group(row: Activation, seed: int, hidden: int) -> None:
    """sigma(gz) = pi(g) sigma(z) for signed z, and pi is a representation: pi(gh) = pi(g) pi(h)."""
    rng = generator(seed)
    g, h = (row.group.sample(hidden, scale=0.8, rng=rng) for _ in range(2))
    z = torch.randn(7, hidden, generator=rng, dtype=torch.float64)
    assert_close(row.function(z @ g.matrix.T), row.function(z) @ row.output_action(g).T, rtol=1e-8, atol=1e-9)
    assert_close(row.output_action(g @ h), row.output_action(g) @ row.output_action(h), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("row", [row for row in ROWS if row is not IDENTITY], ids=lambda row: row.name)
def test_a_general_matrix_does_not_commute(row: Activation) -> None:
    """The commutation test can fail: an invertible matrix outside the group breaks it."""
    g = GeneralLinear().sample(5, scale=1.0, rng=generator()).matrix
    z = torch.randn(7, 5, generator=generator(1), dtype=torch.float64)
    error = (row.function(z @ g.T) - row.function(z) @ g.T).abs().max()
    assert float(error) > 1e-2


@pytest.mark.parametrize("row", [row for row in ROWS if row.degree is not None], ids=lambda row: row.name)
@given(factor=st.floats(0.1, 5))
def test_degree(row: Activation, factor: float) -> None:
    """sigma(c z) = c^alpha sigma(z) for c > 0."""
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    assert row.degree is not None
    assert_close(row.function(factor * z), factor**row.degree * row.function(z))


@pytest.mark.parametrize("row", [row for row in ROWS if row.antiderivative is not None], ids=lambda row: row.name)
def test_antiderivative(row: Activation) -> None:
    """The derivative of the antiderivative is sigma/sigma', and it starts at 0."""
    assert row.antiderivative is not None
    x = torch.tensor([-1.3, -0.4, 0.3, 0.9, 1.4], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(row.function(x).sum(), x)
    (derivative,) = torch.autograd.grad(row.antiderivative(x).sum(), x)
    assert_close(derivative, row.function(x).detach() / slope, rtol=1e-9, atol=1e-9)
    assert float(row.antiderivative(torch.zeros(1, dtype=torch.float64))) == 0.0


@pytest.mark.parametrize("row", [row for row in TABLE if row.modules], ids=lambda row: row.name)
def test_rows_are_found_by_name_and_by_module(row: Activation) -> None:
    """A row is found by its name and by each of its modules, which compute its function."""
    assert activation(row.name) is row
    z = torch.randn(4, 6, generator=generator())
    for module in row.modules:
        instance = module(0.01) if module is nn.LeakyReLU else module()
        with torch.no_grad():
            for parameter in instance.parameters():
                parameter.fill_(0.01)
            assert activation(instance) is row
            assert_close(instance(z), row.function(z))


def test_radial_rescaling_keeps_zero_and_direction() -> None:
    """0 stays 0 (no NaN), and directions are kept."""
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    out = RADIAL.function(z)
    assert_close(out[0], torch.zeros(2, dtype=torch.float64))
    assert_close(out[1] / out[1].norm(), z[1] / 5)
    assert_close(identity(RADIAL.group, 2).matrix, torch.eye(2, dtype=torch.float64))


def test_unknown_activation_lists_the_known_ones() -> None:
    """A name or module without a row is one domain error that lists the rows."""
    with pytest.raises(UnknownName, match="relu"):
        activation("mish")
    with pytest.raises(UnknownName, match="Mish"):
        activation(nn.Mish())
