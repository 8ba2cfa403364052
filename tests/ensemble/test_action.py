"""Exact and data-dependent actions.

Seen to fail: mix_input without the inverse; reflect with the sign of s_1 dropped; the cocycle in the wrong order;
completed basis without the completion; pi built from sigma(gz) and sigma(z) exchanged; a rider's bias left behind; a
site's last part left out; a layer that both reads and writes acted on once only; the degree ignored behind a square;
Delta with the other sign.
"""

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from ensemble import find_sites
from ensemble.action import (
    completed_basis_action,
    exact_action,
    exact_layers,
    first_order_change,
    infinitesimal_action,
    minimum_norm_action,
    prior_shifted,
    reflect,
    sample_action,
    unreflect,
)
from ensemble.controls import exact_ensemble
from ensemble.errors import CalibrationError, InputError, NoSiteError
from ensemble.graph import trace
from ensemble.groups import GeneralLinear, Permutation, PositiveScaling, Product, identity
from ensemble.layers import FoldedLayer, LayerRef, fold, unfold
from ensemble.sites import survey
from tests.ensemble.cases import ResidualNet, generator, images, mlp, plain_cnn, randomised
from tests.ensemble.networks import (
    GroupedNet,
    LinearStream,
    Sequences,
    SqueezeExciteNet,
    Transformer,
    inverted_block,
)

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


@given(seed=seeds, hidden=st.integers(2, 7), data=st.data())
def test_the_solution_nearest_to_a_prior(seed: int, hidden: int, data: st.DataObject) -> None:
    """It is exact on the batch, keeps the prior off the batch's span, and equals the brute-force formula."""
    samples = data.draw(st.integers(1, hidden))
    rng = generator(seed)
    A, S, prior, z = (
        torch.randn(hidden, columns, generator=rng, dtype=torch.float64) for columns in (samples, samples, hidden, 1)
    )
    pi = prior_shifted(prior, A, S)
    tolerance = 1e-12 * float(torch.linalg.cond(A)) * max(1.0, float(S.abs().max()))
    assert_close(pi @ A, S, rtol=0, atol=tolerance)
    assert_close(pi, prior + (S - prior @ A) @ torch.linalg.pinv(A), rtol=1e-6, atol=1e-7 * float(torch.linalg.cond(A)))
    off = z - A @ torch.linalg.lstsq(A, z).solution
    assert_close(pi @ off, prior @ off, rtol=0, atol=1e-9 * float(torch.linalg.cond(A)))
    with pytest.raises(CalibrationError, match="rank"):
        prior_shifted(prior, A[:, :1].repeat(1, 2), S[:, :1].repeat(1, 2))


@pytest.mark.parametrize("sigma", [leaky, torch.tanh, F.gelu])
def test_the_infinitesimal_form_is_the_derivative(sigma: Callable[[Tensor], Tensor]) -> None:
    """Delta is minus the central difference of pi at tau = 0; the first-order change is that of the network."""
    rng = generator(5)
    T, U = (torch.randn(size, 6, generator=rng, dtype=torch.float64) / 6**0.5 for size in (6, 3))
    Z, z = (torch.randn(6, columns, generator=rng, dtype=torch.float64) for columns in (4, 9))
    one, tau = torch.eye(6, dtype=torch.float64), 1e-5

    def pi(step: float) -> Tensor:
        A = sigma(torch.matrix_exp(step * T) @ Z)
        return one + (sigma(Z) - A) @ torch.linalg.pinv(A)

    def output(step: float) -> Tensor:
        return U @ pi(step) @ sigma(torch.matrix_exp(step * T) @ z)

    delta = infinitesimal_action(T, Z, sigma)
    assert_close(delta, -(pi(tau) - pi(-tau)) / (2 * tau), rtol=1e-5, atol=1e-6 * float(delta.abs().max()))
    change = first_order_change(U, T, Z, z, sigma)
    assert_close(change, (output(tau) - output(-tau)) / (2 * tau), rtol=1e-5, atol=1e-5 * float(change.abs().max()))
    on_batch = first_order_change(U, T, Z, Z, sigma)
    assert float(on_batch.abs().max()) < 1e-10 * float(change.abs().max())


def test_an_exact_generator_moves_nothing_anywhere_with_a_full_batch() -> None:
    """For ReLU and a diagonal T the first-order change is zero for every z if k = h, and only on the span if k < h."""
    rng = generator(6)
    T = torch.diag(torch.randn(5, generator=rng, dtype=torch.float64))
    U = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    Z, z = (torch.randn(5, columns, generator=rng, dtype=torch.float64) for columns in (5, 8))
    assert float(first_order_change(U, T, Z, z, leaky).abs().max()) < 1e-10
    assert float(first_order_change(U, T, Z[:, :3], z, leaky).abs().max()) > 1e-2


NETWORKS: list[Callable[[], nn.Module]] = [
    plain_cnn, ResidualNet, lambda: plain_cnn(nn.LeakyReLU()), lambda: plain_cnn(nn.Tanh()),
    lambda: plain_cnn(nn.PReLU()), inverted_block, lambda: inverted_block(nn.ReLU6()),
    lambda: inverted_block(nn.Tanh()),
    SqueezeExciteNet, LinearStream, GroupedNet, Sequences, Transformer,
]  # fmt: skip


@pytest.mark.parametrize("build", NETWORKS)
def test_exact_action_changes_no_output(build: Callable[[], nn.Module]) -> None:
    """At every site and stream of every kind the acted network computes the same function, to float64 rounding.

    Leaving one of the changed layers as it was moves the output at the same place.
    """
    network = randomised(build(), dtype=torch.float64).requires_grad_(False)
    x = images(7, dtype=torch.float64)
    before = network(x)
    scale = float(before.abs().max())
    found = survey(trace(network, x[:1]))
    places = [*found.sites, *found.coupled]
    for index, site in enumerate(places):
        layers = {part.ref: fold(network, part.ref) for part in site.parts}
        element = site.exact_group.sample(site.hidden, scale=1.0, rng=generator(index))
        assert float((element.matrix - torch.eye(site.hidden)).abs().max()) > 1e-2
        acted = exact_layers(site, layers, element)
        assert set(acted) == {part.ref for part in site.parts}
        assert_close(_with_layers(build, network, acted)(x), before, rtol=0, atol=1e-11 * scale)
        wrong = dict(acted)
        first = site.parts[0].ref
        wrong[first] = layers[first]
        assert float((_with_layers(build, network, wrong)(x) - before).abs().max()) > 1e-3 * scale, site.name


@pytest.mark.parametrize("build", [ResidualNet, SqueezeExciteNet, GroupedNet, LinearStream, inverted_block])
def test_actions_at_all_places_compose(build: Callable[[], nn.Module]) -> None:
    """Sites share layers with streams and with each other's riders; acting on all of them one by one stays exact."""
    network = randomised(build(), dtype=torch.float64).requires_grad_(False)
    x = images(7, dtype=torch.float64)
    found = survey(trace(network, x[:1]))
    places = [*found.sites, *found.coupled]
    many = exact_ensemble(network, x, members=2, rng=generator(), places=places)
    before = network(x)
    for index in range(2):
        assert_close(many.member(index)(x), before, rtol=0, atol=1e-11 * float(before.abs().max()))
        assert_close(many.member_logits(x)[index], before, rtol=0, atol=1e-11 * float(before.abs().max()))
    assert float((many.layers[0].weight[0] - many.layers[0].weight[1]).abs().max()) > 1e-2


def test_an_element_outside_the_exact_group_is_refused_at_a_site() -> None:
    """Scaling is exact through ReLU but not through ReLU6, and mixing groups of a grouped convolution nowhere."""
    x = images(1)
    scaling = PositiveScaling().sample(6, scale=1.0, rng=generator())
    for activation, exact in ((nn.ReLU(), True), (nn.ReLU6(), False)):
        network = inverted_block(activation).eval()
        site = survey(trace(network, x)).sites[0]
        layers = {part.ref: fold(network, part.ref) for part in site.parts}
        if exact:
            exact_layers(site, layers, scaling)
        else:
            with pytest.raises(InputError, match="element of permutation"):
                exact_layers(site, layers, scaling)
    grouped = GroupedNet().eval()
    dense = GeneralLinear().sample(8, scale=0.3, rng=generator()).matrix
    with pytest.raises(InputError, match="mixes groups"):
        fold(grouped, LayerRef("conv2", None)).mix_output(dense)
    with pytest.raises(InputError, match="mixes groups"):
        fold(grouped, LayerRef("conv2", None)).mix_input(dense)


def test_powers_of_two_are_skipped_where_nothing_scales() -> None:
    """Bit-exact members need a site that admits scaling; without one the control says what to do."""
    with pytest.raises(NoSiteError, match="powers_of_two=False"):
        exact_ensemble(inverted_block(nn.ReLU6()).eval(), images(1), members=1, rng=generator(), powers_of_two=True)


def test_a_wrong_element_moves_the_output() -> None:
    """The invariance test can fail: an invertible matrix outside the exact group is refused, and would move outputs."""
    network = randomised(mlp(), dtype=torch.float64)
    site = find_sites(network, torch.zeros(1, 6, dtype=torch.float64))[0]
    outside = GeneralLinear().sample(site.hidden, scale=0.3, rng=generator())
    with pytest.raises(InputError, match="permutation x positive scaling"):
        exact_action(fold(network, site.lower), fold(network, site.upper), outside, site.activation)
    with pytest.raises(InputError, match="expected 10 hidden units"):
        exact_action(fold(network, site.lower), fold(network, site.upper), identity(MONOMIAL, 3), site.activation)


def _with_layers(
    build: Callable[[], nn.Module], network: nn.Module, layers: Mapping[LayerRef, FoldedLayer]
) -> nn.Module:
    """Return a new network of the class with the layers written into its state dictionary."""
    state = network.state_dict()
    for ref, layer in layers.items():
        state |= unfold(network, ref, layer.weight, layer.bias)
    other = randomised(build(), dtype=torch.float64).requires_grad_(False)
    other.load_state_dict(state, strict=True)
    return other
