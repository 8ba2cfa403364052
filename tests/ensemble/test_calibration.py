"""Streaming least squares.

Seen to fail: affine column penalised; prior added without the ridge; unfold in (kh kw inp) order; padding dropped;
residual from the unridged solution.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from ensemble import calibration
from ensemble.calibration import NormalEquations, regressor_rows, target_rows
from ensemble.errors import CalibrationError
from ensemble.layers import FoldedLayer
from tests.ensemble.cases import generator


def _draw(rows: int, q: int, m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator(seed)
    return (
        torch.randn(rows, q, generator=rng, dtype=torch.float64),
        torch.randn(rows, m, generator=rng, dtype=torch.float64),
    )


@given(seed=st.integers(0, 2**31), split=st.integers(1, 39))
def test_streamed_solution_equals_the_dense_one(seed: int, split: int) -> None:
    """Chunked accumulation with affine term solves the same problem as one dense least squares."""
    phi, target = _draw(40, 5, 3, seed)
    equations = NormalEquations(5, 3, affine=True, device=phi.device)
    equations.add(phi[:split], target[:split])
    equations.add(phi[split:], target[split:])
    fit = equations.solve(ridge=0.0)
    dense = torch.linalg.lstsq(torch.cat([phi, torch.ones(40, 1, dtype=torch.float64)], 1), target).solution
    assert fit.bias is not None
    assert_close(fit.weight, dense[:5].T, rtol=1e-8, atol=1e-8)
    assert_close(fit.bias, dense[5], rtol=1e-8, atol=1e-8)
    error = (phi @ fit.weight.T + fit.bias - target).norm() / target.norm()
    assert fit.residual == pytest.approx(float(error), rel=1e-8)
    assert (fit.rank, fit.rows) == (5, 40)


def test_ridge_matches_its_formula_and_spares_the_constant() -> None:
    """The ridge pulls the weights to the prior, scaled by the mean square regressor, and leaves the constant free."""
    phi, target = _draw(40, 5, 2)
    prior = torch.ones(2, 5, dtype=torch.float64)
    equations = NormalEquations(5, 2, affine=True, device=phi.device)
    equations.add(phi, target)
    fit = equations.solve(ridge=0.5, prior=prior)
    wide = torch.cat([phi, torch.ones(40, 1, dtype=torch.float64)], 1)
    r = 0.5 * float((phi.T @ phi).diagonal().mean())
    penalty = r * torch.diag(torch.tensor([1.0] * 5 + [0.0], dtype=torch.float64))
    moment = target.T @ wide
    moment[:, :5] += r * prior
    expected = torch.linalg.solve(wide.T @ wide + penalty, moment.T).T
    assert_close(fit.weight, expected[:, :5], rtol=1e-9, atol=1e-9)
    huge = equations.solve(ridge=1e9, prior=prior)
    assert_close(huge.weight, prior, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2), (2, 3, 9, 9)),
        (nn.Conv2d(3, 4, (1, 3), padding=(0, 1), padding_mode="reflect"), (2, 3, 5, 6)),
        (nn.Conv2d(3, 4, 3, padding="same"), (2, 3, 5, 6)),
        (nn.Conv1d(3, 4, 3, stride=2, padding=2, dilation=2), (2, 3, 11)),
        (nn.Linear(6, 4), (5, 6)),
        (nn.Linear(6, 4), (2, 3, 6)),
    ],
    ids=["conv2d", "reflect", "same", "conv1d", "linear", "tokens"],
)
def test_rows_reproduce_the_layer(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Rows times the flattened weight equal the layer's own output, borders included."""
    double = layer.double()
    x = torch.randn(shape, generator=generator(), dtype=torch.float64)
    folded = FoldedLayer(double, double.weight.detach(), None)
    rows = regressor_rows(folded, x)
    assert_close(rows @ folded.weight.flatten(1).T, target_rows(folded, folded(x)), rtol=1e-10, atol=1e-10)


def test_refit_at_the_identity_returns_the_original_weights() -> None:
    """With full-rank regressors and its own output as target, the refit is the layer, bias and border included."""
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    layer = FoldedLayer(conv, conv.weight.detach(), conv.bias.detach() if conv.bias is not None else None)
    x = torch.randn(6, 3, 7, 7, generator=generator(), dtype=torch.float64)
    equations = NormalEquations(27, 4, affine=True, device=x.device)
    equations.add(regressor_rows(layer, x), target_rows(layer, layer(x)))
    fit = equations.solve(ridge=0.0)
    assert_close(fit.weight.reshape(layer.weight.shape), layer.weight, rtol=1e-8, atol=1e-8)
    assert_close(fit.bias, layer.bias, rtol=1e-8, atol=1e-8)
    assert fit.residual < 1e-7
    assert_close(replace(layer, weight=fit.weight.reshape(layer.weight.shape), bias=fit.bias)(x), layer(x))


def test_too_few_rows_are_refused_unless_the_ridge_regularises() -> None:
    """Fewer rows than regressors is an error that names both numbers; a real ridge makes it well posed."""
    phi, target = _draw(4, 5, 2)
    equations = NormalEquations(5, 2, affine=False, device=phi.device)
    equations.add(phi, target)
    with pytest.raises(CalibrationError, match="at least 5 rows, got 4"):
        equations.solve(ridge=1e-6)
    assert equations.solve(ridge=1e-2).rank == 4


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_dead_or_blown_up_regressors_are_refused(value: float) -> None:
    """Activations that are all zero or not finite cannot be fitted."""
    equations = NormalEquations(2, 1, affine=False, device=torch.device("cpu"))
    equations.add(torch.full((9, 2), value), torch.ones(9, 1))
    with pytest.raises(CalibrationError, match="dead"):
        equations.solve(ridge=1e-2)


def test_dependent_regressors_without_ridge_are_refused() -> None:
    """A singular Gram matrix is an error, not a number."""
    equations = NormalEquations(2, 1, affine=False, device=torch.device("cpu"))
    equations.add(torch.ones(9, 1).repeat(1, 2), torch.ones(9, 1))
    with pytest.raises(CalibrationError, match="singular"):
        equations.solve(ridge=0.0)


def test_condition_of_many_regressors_by_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the full spectrum's limit the condition number comes from power iteration, and the rank is left out."""
    phi, target = _draw(400, 30, 2)
    phi = phi * torch.logspace(0, -3, 30, dtype=torch.float64)
    equations = NormalEquations(30, 2, affine=True, device=phi.device)
    equations.add(phi, target)
    exact = equations.solve(ridge=1e-9)
    monkeypatch.setattr(calibration, "FULL_SPECTRUM", 10)
    iterated = equations.solve(ridge=1e-9)
    assert iterated.condition == pytest.approx(exact.condition, rel=0.05)
    assert (exact.rank, iterated.rank) == (30, None)
