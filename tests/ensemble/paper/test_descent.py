"""The batched program of the paper's training runs against a plain loop over autograd, one run after another.

Seen to fail when: the pull-back of tanh is multiplied by 1 + S²; the radial pull-back loses its factor 2; the inputs of
the radial layer are left out of the pull-back; V is updated before U's gradient is taken; the rate is not divided by
the number of outputs; the weight of the sigmoid is 1; the sign of the lower part of Q is flipped; a block
is shifted by one.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.paper.descent import Block, DriftPrediction, Runs, descend, stacked
from ensemble.paper.layers import ELEMENTWISE, HiddenLayer, Linear, Radial, Relu, Sigmoid, Tanh

X = torch.randn(4, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def radial(z: Tensor, axis: int) -> Tensor:
    """Return z/‖z‖² along an axis."""
    return z / z.square().sum(axis, keepdim=True)


CASES: list[tuple[HiddenLayer, Callable[[Tensor], Tensor]]] = [
    (Linear(), lambda V: V),
    (Relu(), torch.relu),
    (Tanh(), torch.tanh),
    (Sigmoid(), torch.sigmoid),
    (Radial(axis=-1), lambda V: radial(V, -1)),
    (Radial(axis=-2), lambda V: radial(V, -2)),
    (Radial(axis=-2, inputs=X), lambda V: radial(V @ X, -2)),
]
IDS = ["linear", "ReLU", "tanh", "sigmoid", "radial samples", "radial", "radial with inputs"]


def weights(seed: int, out: int = 3, hidden: int = 5, inp: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, V and Y of a seed."""
    rng = torch.Generator().manual_seed(seed)
    draw = [
        torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((out, hidden), (hidden, inp), (out, inp))
    ]
    return draw[0], draw[1], draw[2]


def plain_loop(
    sigma: Callable[[Tensor], Tensor], U: Tensor, V: Tensor, Y: Tensor, rate: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return U and V after gradient descent by autograd, one run."""
    U, V = U.clone().requires_grad_(), V.clone().requires_grad_()
    for _ in range(steps):
        loss = (Y - U @ sigma(V)).square().mean()
        gU, gV = torch.autograd.grad(loss, (U, V))
        with torch.no_grad():
            U -= rate * gU
            V -= rate * gV
    return U.detach(), V.detach()


def test_all_runs_at_once_are_the_plain_loop_run_by_run() -> None:
    """Seven hidden layers, two rates each, in one program: every weight as autograd has it, to rounding."""
    groups = []
    for k, (layer, _) in enumerate(CASES):
        U, V, Y = weights(k)
        groups.append((layer, [(U, V, Y, 0.05), (U, V, Y, 0.01)]))
    start = stacked(groups)
    before = start.U.clone()
    end = descend(start, [40]).end
    for k, (_, sigma) in enumerate(CASES):
        for j, rate in enumerate((0.05, 0.01)):
            U, V = plain_loop(sigma, *weights(k), rate, 40)
            torch.testing.assert_close(end.U[2 * k + j], U, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(end.V[2 * k + j], V, rtol=1e-11, atol=1e-11)
    assert torch.equal(start.U, before)  # the given runs are left as they are


@pytest.mark.parametrize(("layer", "sigma"), CASES, ids=IDS)
def test_the_quantity_is_orthogonal_to_the_loss(layer: HiddenLayer, sigma: Callable[[Tensor], Tensor]) -> None:
    """<grad Q, grad L> = 0 by autograd, and not for Q with the wrong sign between the layers."""
    U, V, Y = (t.clone().requires_grad_(k < 2) for k, t in enumerate(weights(3)))
    loss = (Y - U @ sigma(V)).square().mean()
    gL = torch.autograd.grad(loss, (U, V))
    gQ = torch.autograd.grad(layer.quantity(U[None], V[None])[0], (U, V))
    upper, lower = ((a * b).sum() for a, b in zip(gL, gQ, strict=True))
    assert abs(upper + lower) < 1e-12 * (abs(upper) + abs(lower))
    assert abs(upper - lower) > 1e-3 * abs(upper)


@pytest.mark.parametrize(("layer", "sigma"), CASES, ids=IDS)
def test_the_predicted_drift_is_the_measured_one(layer: HiddenLayer, sigma: Callable[[Tensor], Tensor]) -> None:
    """At a small rate the second order of the steps is the drift of Q: to rounding where Q is quadratic."""
    U, V, Y = weights(5)
    start = stacked([(layer, [(U, V, Y, 1e-3)])])
    record = descend(start, [1, 50], prediction=DriftPrediction(start))
    measured = record.quantity - record.quantity[0]
    quadratic = isinstance(layer, Linear | Radial)
    tolerance = 1e-8 if quadratic else 4e-3
    assert float(measured[-1].abs()) > 1e-9
    torch.testing.assert_close(record.predicted[1:], measured[1:], rtol=tolerance, atol=1e-13)


def test_what_is_recorded_belongs_to_its_step() -> None:
    """Records at several steps equal separate runs to each of them; distance and Q are those of the state."""
    layer = ELEMENTWISE[2]
    U, V, Y = weights(7)
    start = stacked([(layer, [(U, V, Y, 0.1)])])
    record = descend(start, [3, 10])
    assert record.steps.tolist() == [0, 3, 10]
    for row, steps in enumerate([0, 3, 10]):
        U_, V_ = plain_loop(torch.tanh, U, V, Y, 0.1, steps)
        torch.testing.assert_close(record.distance[row, 0], (Y - U_ @ torch.tanh(V_)).norm())
        Q = U_.square().sum() / 2 - (torch.sinh(V_).square() / 2).sum()
        torch.testing.assert_close(record.quantity[row, 0], Q)


@pytest.mark.parametrize(
    ("layer", "value"),
    [(Linear(), 2 * 1.5), (Relu(), 2 * 3.5), (Tanh(), None), (Sigmoid(), None)],
    ids=["linear", "ReLU", "tanh", "sigmoid"],
)
def test_the_published_normalisation(layer: HiddenLayer, value: float | None) -> None:
    """2Q for linear and ReLU; ‖U‖² − Σ cosh² for tanh; Q without + 1 per entry for the sigmoid."""
    U, V = torch.tensor([[[2.0, 2.0]]]).double(), torch.tensor([[[1.0], [-2.0]]]).double()
    cosh = 8 - float(torch.cosh(V).square().sum())
    logistic = 4 - float((V + V.exp()).sum())
    expected = {"tanh": cosh, "sigmoid": logistic}.get(layer.name, value)
    assert float(layer.published(layer.quantity(U, V), 2)) == pytest.approx(expected)


def test_wrong_runs_and_recordings_are_refused() -> None:
    """Blocks must cover all runs in order, and steps must ascend."""
    U, V, Y = weights(0)
    with pytest.raises(InputError, match="cover all runs"):
        Runs(U[None], V[None], Y[None], torch.ones(1).double(), (Block(Linear(), 0, 2),))
    with pytest.raises(InputError, match="ascending"):
        descend(stacked([(Linear(), [(U, V, Y, 0.1)])]), [5, 3])
