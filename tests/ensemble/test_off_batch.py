"""Bounds on what a member does off its batch.

Seen to fail: the distance to the farthest batch point; one of the two norms left out; the bound divided by the
Lipschitz constant; the projector bound with U alone.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ensemble.action import completed_basis_action
from ensemble.errors import InputError
from ensemble.groups import GeneralLinear
from ensemble.off_batch import TwoLayers, off_batch, projector_bound
from tests.ensemble.cases import generator


def _leaky(z: Tensor) -> Tensor:
    return F.leaky_relu(z, 0.1)


def _pair(seed: int, samples: int, scale: float = 0.5) -> tuple[TwoLayers, TwoLayers, Tensor]:
    rng = generator(seed)
    V, b, U, c, X = (
        torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((8, 5), (8,), (3, 8), (3,), (5, samples))
    )
    g = GeneralLinear().sample(8, scale=scale, rng=rng).matrix
    pi = completed_basis_action(g, V @ X + b.unsqueeze(1), _leaky)
    return TwoLayers(V, b, U, c, _leaky), TwoLayers(g @ V, g @ b, U @ pi, c, _leaky), X


@given(seed=st.integers(0, 2**31), samples=st.integers(1, 6), reach=st.floats(1e-3, 10))
def test_the_bound_holds_and_the_measurement_is_the_change(seed: int, samples: int, reach: float) -> None:
    """At random points near and far the measured change stays under the bound, and is what brute force finds."""
    base, member, X = _pair(seed, samples)
    rng = generator(seed + 1)
    points = X[:, :1] + reach * torch.randn(5, 12, generator=rng, dtype=torch.float64)
    found = off_batch(base, member, X, points)
    assert bool((found.change <= found.bound).all())
    for index in range(12):
        x = points[:, index : index + 1]
        nearest = min(float(torch.linalg.vector_norm(x - X[:, [j]])) for j in range(samples))
        assert float(found.distance[index]) == pytest.approx(nearest, rel=1e-5, abs=1e-6)
        assert_close(found.change[index], torch.linalg.vector_norm(member(x) - base(x)))
    constant = sum(float(torch.linalg.svdvals(two.U)[0] * torch.linalg.svdvals(two.V)[0]) for two in (base, member))
    assert_close(found.bound, constant * found.distance + found.on_batch)
    assert 0 < found.measured_rate <= constant + found.on_batch / float(found.distance.min())


def test_on_the_batch_nothing_moves_and_the_blow_up_is_one_at_the_identity() -> None:
    """Distance zero has bound and change at rounding; a member equal to its base has blow-up one and rate zero."""
    base, member, X = _pair(3, 4)
    found = off_batch(base, member, X, X)
    assert float(found.change.max()) < 1e-10
    assert float(found.bound.max()) < 1e-4  # the distance of a point to itself is rounding
    same = off_batch(base, base, X, X + 1)
    assert (same.blow_up, same.measured_rate) == (1.0, 0.0)
    wild = off_batch(*_pair(3, 4, scale=2.0), X)
    assert wild.blow_up > 2
    with pytest.raises(InputError, match="at least one"):
        off_batch(base, member, X[:, :0], X)


def test_the_lipschitz_constant_counts() -> None:
    """An activation twice as steep doubles the bound and needs it."""
    base, member, X = _pair(4, 3)
    once, twice = (off_batch(base, member, X, X + 1, lipschitz=factor) for factor in (1.0, 2.0))
    assert_close(twice.bound - twice.on_batch, 2 * (once.bound - once.on_batch))


@given(seed=st.integers(0, 2**31))
def test_least_squares_on_many_samples_stays_under_the_projector_bound(seed: int) -> None:
    """For more samples than units an unregularised refit changes the batch's outputs by at most |US|."""
    rng = generator(seed)
    Z, U = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((6, 40), (3, 6)))
    g = GeneralLinear().sample(6, scale=1.0, rng=rng).matrix
    S, A = _leaky(Z), _leaky(g @ Z)
    change = U @ S @ torch.linalg.pinv(A) @ A - U @ S
    assert 1e-6 < float(torch.linalg.matrix_norm(change)) <= projector_bound(U, S)
    assert_close(torch.tensor(projector_bound(U, S), dtype=torch.float64), (U @ S).square().sum().sqrt())
