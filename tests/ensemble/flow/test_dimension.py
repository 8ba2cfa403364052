"""Numbers of conservation laws against the known counts, and dimensions of orbits against the closed forms.

Seen to fail when: brackets are left out (only gradient fields count); the bracket's second term is dropped; rounding
counts as a direction; the algebra of GL lacks its antisymmetric part; a stabiliser is not subtracted.
"""

import pytest
import torch

from ensemble import flow
from ensemble.activations import IDENTITY, LEAKY_RELU, RADIAL, RELU, SIGMOID, TANH, Activation, power
from ensemble.errors import InputError
from tests.ensemble.cases import mlp, plain_cnn, randomised
from tests.ensemble.flow.cases import normal, rng
from tests.ensemble.networks import LinearStream, Transformer


def two_layer(activation: Activation, out: int, hidden: int, inp: int, inputs: torch.Tensor | None = None):
    """Return outputs as a function of the parameters, and a generic point."""
    x = normal(150, inp, seed=1) if inputs is None else inputs
    parameters = {"U": normal(out, hidden, seed=2), "V": normal(hidden, inp, seed=3)}
    return (lambda p: activation.function(x @ p["V"].T) @ p["U"].T), parameters


@pytest.mark.parametrize("sizes", [(2, 3, 2), (2, 2, 3), (3, 2, 2), (2, 4, 2), (1, 4, 2), (1, 3, 1)])
def test_linear_networks_have_the_known_number_of_laws(sizes: tuple[int, int, int]) -> None:
    """The entries of U^T U - V V^T while h <= out + inp, and s h - dim so(out, inp) above."""
    outputs, parameters = two_layer(IDENTITY, *sizes)
    count = flow.count_laws(outputs, parameters, rng=rng())
    assert count.laws == flow.linear_law_count(*sizes)
    assert count.ranks[-1] > count.ranks[0] or sizes == (1, 3, 1)  # brackets are needed


@pytest.mark.parametrize(
    ("row", "laws"),
    [(RELU, 3), (LEAKY_RELU, 3), (power(3), 3), (TANH, 0), (SIGMOID, 0), (RADIAL, 0), (flow.radial_power(-1.0), 1)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_other_activations_have_one_law_per_symmetric_generator(row: Activation, laws: int) -> None:
    """ReLU has one per unit, tanh none on any data, rotations none, a radial one of a degree the total alone."""
    outputs, parameters = two_layer(row, 2, 3, 2)
    assert flow.count_laws(outputs, parameters, rng=rng()).laws == laws


@pytest.mark.parametrize("row", [TANH, SIGMOID], ids=lambda row: row.name)
def test_unit_inputs_give_tanh_its_laws(row: Activation) -> None:
    """On X = 1 alone there is one law per hidden unit, and with one more input none is left."""
    inputs = torch.eye(2, dtype=torch.float64)
    outputs, parameters = two_layer(row, 2, 3, 2, inputs)
    assert flow.count_laws(outputs, parameters, rng=rng()).laws == 3
    more = torch.cat([inputs, normal(1, 2, seed=4)])
    outputs, parameters = two_layer(row, 2, 3, 2, more)
    assert flow.count_laws(outputs, parameters, rng=rng()).laws == 0


def test_deep_networks_have_the_laws_of_their_layers() -> None:
    """A linear chain has h (h + 1)/2 per hidden layer, a LeakyReLU network one per unit."""
    x = normal(80, 3, seed=5)

    def outputs(p, row):
        hidden = row.function(row.function(x @ p["0"].T) @ p["1"].T)
        return hidden @ p["2"].T

    parameters = {"0": normal(3, 3, seed=6), "1": normal(2, 3, seed=7), "2": normal(2, 2, seed=8)}
    assert flow.count_laws(lambda p: outputs(p, IDENTITY), parameters, rng=rng()).laws == 6 + 3
    assert flow.count_laws(lambda p: outputs(p, LEAKY_RELU), parameters, rng=rng()).laws == 3 + 2


def test_a_single_product_is_not_counted_from_rounding() -> None:
    """One input and one output have a single gradient field: all brackets vanish, and rounding is no direction."""
    outputs, parameters = two_layer(IDENTITY, 1, 3, 1)
    assert flow.count_laws(outputs, parameters, rng=rng()).laws == 5


def test_a_rank_that_does_not_settle_is_an_error() -> None:
    """Too little depth raises instead of returning an upper bound."""
    outputs, parameters = two_layer(IDENTITY, 2, 3, 2)
    with pytest.raises(InputError, match="depth"):
        flow.count_laws(outputs, parameters, rng=rng(), depth=0)


@pytest.mark.parametrize(
    ("out", "hidden", "inp", "rank_lower", "rank_upper"),
    [(2, 4, 3, 3, 2), (4, 3, 5, 3, 3), (2, 4, 3, 1, 2), (2, 4, 3, 0, 1)],
)
def test_linear_orbits(out: int, hidden: int, inp: int, rank_lower: int, rank_upper: int) -> None:
    """Dim GL(h) minus the stabiliser is h^2 - (h - rank V)(h - rank U), rank-deficient weights included."""
    U = normal(out, rank_upper, seed=1) @ normal(rank_upper, hidden, seed=2)
    V = normal(hidden, rank_lower, seed=3) @ normal(rank_lower, inp, seed=4)
    assert flow.orbit_dimension(U, V, IDENTITY) == flow.linear_orbit_dimension(hidden, rank_lower, rank_upper)


def test_other_orbits() -> None:
    """ReLU: one dimension per live unit; radial: rotations minus those that fix both layers; tanh: none."""
    U, V = normal(2, 5, seed=1), normal(5, 1, seed=2)
    assert flow.orbit_dimension(U, V, RADIAL) == flow.radial_orbit_dimension(5, 3) == 9
    assert flow.orbit_dimension(U, V, TANH) == 0
    assert flow.orbit_dimension(U, V, flow.radial_power(-1.0)) == 10
    U[:, 0], V[0] = 0, 0
    assert flow.orbit_dimension(U, V, RELU) == 4


def test_the_minimum_is_at_least_as_large_as_the_orbit() -> None:
    """For generic data a linear network's minimum is its orbit; few inputs leave more of it."""
    outputs, parameters = two_layer(IDENTITY, 2, 3, 2)
    orbit = flow.orbit_dimension(parameters["U"], parameters["V"], IDENTITY)
    assert flow.minimum_dimension(outputs, parameters) == orbit == 8
    outputs, parameters = two_layer(IDENTITY, 2, 3, 2, normal(1, 2, seed=9))
    assert flow.minimum_dimension(outputs, parameters) == 10


def test_symmetries_of_whole_networks() -> None:
    """Sum over sites, streams and attention heads."""
    assert flow.symmetry_dimension(randomised(mlp()), torch.zeros(1, 6)) == 10 + 9
    assert flow.symmetry_dimension(randomised(plain_cnn()), torch.zeros(1, 1, 8, 8)) == 6 + 8 + 12
    assert flow.symmetry_dimension(randomised(LinearStream()), torch.zeros(1, 1, 8, 8)) == 4 * 4
    assert flow.symmetry_dimension(randomised(Transformer()), torch.zeros(1, 1, 8, 8)) == 2 * 3 * (4**2 + 4**2)
