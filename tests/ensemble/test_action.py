"""Exact and data-dependent actions.

Seen to fail: mix_input without the inverse; reflect with the sign of s_1 dropped; the cocycle in the wrong order;
completed basis without the completion; pi built from sigma(gz) and sigma(z) exchanged.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from ensemble import find_sites
from ensemble.action import completed_basis_action, exact_action, minimum_norm_action, reflect, sample_action, unreflect
from ensemble.errors import CalibrationError, InputError
from ensemble.groups import GeneralLinear, Permutation, PositiveScaling, Product, identity
from ensemble.layers import fold
from tests.ensemble.cases import ResidualNet, generator, images, mlp, plain_cnn, randomised

seeds = st.integers(0, 2**31)
MONOMIAL = Product(Permutation(), PositiveScaling())


def leaky(z: Tensor) -> Tensor:
    """Return an invertible activation, so no activation vanishes."""
    return F.leaky_relu(z, 0.1)


@given(seed=seeds, hidden=st.integers(1, 8))
def test_reflection_sends_e1_to_s_and_back(seed: int, hidden: int) -> None:
    """R_s e1 = s, R_s^-1 R_s = 1, for signed vectors of any length."""
    rng = generator(seed)
    s = torch.randn(hidden, generator=rng, dtype=torch.float64)
    x = torch.randn(hidden, 3, generator=rng, dtype=torch.float64)
    e1 = torch.eye(hidden, dtype=torch.float64)[0]
    assert_close(reflect(s, e1), s, rtol=1e-12, atol=1e-12)
    assert_close(unreflect(s, reflect(s, x)), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("s", [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [2.0, 1.0, -3.0], [0.0, 0.0, -1.0], [-0.5]])
def test_reflection_at_special_vectors(s: list[float]) -> None:
    """The Householder form is defined at e1, with zero tails, with negative last entries and in one dimension."""
    vector = torch.tensor(s, dtype=torch.float64)
    e1 = torch.eye(len(s), dtype=torch.float64)[0]
    assert_close(reflect(vector, e1), vector, rtol=0, atol=1e-12)


def test_reflection_of_zero_is_refused() -> None:
    """No invertible matrix sends e1 to 0, so zero raises."""
    with pytest.raises(InputError, match="non-zero"):
        reflect(torch.zeros(3), torch.ones(3))


@given(seed=seeds, hidden=st.integers(1, 6))
def test_sample_action_is_a_group_action(seed: int, hidden: int) -> None:
    """Pi sigma(gz) = sigma(z), pi(e, z) = 1 and pi(g1 g2, z) = pi(g2, z) pi(g1, g2 z)."""
    rng = generator(seed)
    z = torch.randn(hidden, generator=rng, dtype=torch.float64)
    g1, g2 = (GeneralLinear().sample(hidden, scale=0.5, rng=rng).matrix for _ in range(2))
    one = torch.eye(hidden, dtype=torch.float64)
    assert_close(sample_action(g1, z, leaky) @ leaky(g1 @ z), leaky(z), rtol=1e-9, atol=1e-9)
    assert_close(sample_action(one, z, leaky), one, rtol=1e-10, atol=1e-10)
    composed = sample_action(g2, z, leaky) @ sample_action(g1, g2 @ z, leaky)
    assert_close(sample_action(g1 @ g2, z, leaky), composed, rtol=1e-6, atol=1e-8)


@given(seed=seeds, hidden=st.integers(2, 6), data=st.data())
def test_batch_actions(seed: int, hidden: int, data: st.DataObject) -> None:
    """Both batch forms are exact for k <= h; only the completed basis keeps the identity."""
    samples = data.draw(st.integers(1, hidden))
    rng = generator(seed)
    Z = torch.randn(hidden, samples, generator=rng, dtype=torch.float64)
    g = GeneralLinear().sample(hidden, scale=0.4, rng=rng).matrix
    A = leaky(g @ Z)
    tolerance = 1e-12 * float(torch.linalg.cond(A)) * float(leaky(Z).abs().max())
    for action in (completed_basis_action, minimum_norm_action):
        assert_close(action(g, Z, leaky) @ A, leaky(Z), rtol=0, atol=tolerance)
    one = torch.eye(hidden, dtype=torch.float64)
    assert_close(completed_basis_action(one, Z, leaky), one, rtol=1e-8, atol=1e-8)
    projector = minimum_norm_action(one, Z, leaky)
    assert float(torch.trace(projector)) == pytest.approx(samples, abs=1e-6)


def test_batch_action_refuses_dependent_or_too_many_samples() -> None:
    """A rank-deficient batch or more samples than hidden units is an error, not a number."""
    g = torch.eye(3, dtype=torch.float64)
    with pytest.raises(CalibrationError, match="rank 1"):
        completed_basis_action(g, torch.ones(3, 2, dtype=torch.float64), leaky)
    with pytest.raises(CalibrationError, match="at most 3"):
        completed_basis_action(g, torch.rand(3, 4, dtype=torch.float64), leaky)


@pytest.mark.parametrize("build", [plain_cnn, ResidualNet, lambda: plain_cnn(nn.LeakyReLU())])
def test_exact_action_changes_no_output(build: object) -> None:
    """At every site of every kind the acted network computes the same function, to float64 rounding."""
    network = randomised(build(), dtype=torch.float64)  # type: ignore[operator]
    x = images(7, dtype=torch.float64)
    before = network(x)
    for index, site in enumerate(find_sites(network, x[:1])):
        lower, upper = fold(network, site.lower), fold(network, site.upper)
        element = MONOMIAL.sample(site.hidden, scale=1.0, rng=generator(index))
        acted = exact_action(lower, upper, element, site.activation)
        state = network.state_dict()
        for ref, layer in zip((site.lower, site.upper), acted, strict=True):
            state |= _unfolded(network, ref, layer)
        other = randomised(build(), dtype=torch.float64)  # type: ignore[operator]
        other.load_state_dict(state, strict=True)
        assert_close(other(x), before, rtol=1e-10, atol=1e-10 * float(before.detach().abs().max()))


def test_a_wrong_element_moves_the_output() -> None:
    """The invariance test can fail: an invertible matrix outside the exact group is refused, and would move outputs."""
    network = randomised(mlp(), dtype=torch.float64)
    site = find_sites(network, torch.zeros(1, 6, dtype=torch.float64))[0]
    outside = GeneralLinear().sample(site.hidden, scale=0.3, rng=generator())
    with pytest.raises(InputError, match="permutation x positive scaling"):
        exact_action(fold(network, site.lower), fold(network, site.upper), outside, site.activation)
    with pytest.raises(InputError, match="expected 10 hidden units"):
        exact_action(fold(network, site.lower), fold(network, site.upper), identity(MONOMIAL, 3), site.activation)


def _unfolded(network: nn.Module, ref: object, layer: object) -> dict[str, Tensor]:
    from ensemble.layers import FoldedLayer, LayerRef, unfold

    assert isinstance(ref, LayerRef)
    assert isinstance(layer, FoldedLayer)
    return unfold(network, ref, layer.weight, layer.bias)
