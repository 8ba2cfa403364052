"""Axioms of every group.

Seen to fail: transposed product in __matmul__; __invert__ returning the matrix itself; sampling a direction without
its 1/sqrt(hidden); membership that ignores signs.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from ensemble.errors import InputError
from ensemble.groups import (
    Centraliser,
    Commuting,
    DirectSum,
    GeneralLinear,
    Group,
    GroupElement,
    NonzeroScaling,
    Orthogonal,
    Permutation,
    PositiveScaling,
    PowerOfTwoScaling,
    Product,
    SignedPermutation,
    Trivial,
    UniformScaling,
    identity,
)
from tests.ensemble.cases import generator

GROUPS: list[Group] = [
    Trivial(), Permutation(), SignedPermutation(), PositiveScaling(), PowerOfTwoScaling(), NonzeroScaling(),
    UniformScaling(), Orthogonal(), GeneralLinear(), Product(Permutation(), PositiveScaling()),
    Product(Permutation(), NonzeroScaling()), Product(Orthogonal(), UniformScaling()), DirectSum(Orthogonal(), 1),
]  # fmt: skip
MONOMIAL = Product(Permutation(), PositiveScaling())


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
@given(seed=st.integers(0, 2**31), hidden=st.integers(1, 7), scale=st.floats(0, 0.6))
def test_axioms(group: Group, seed: int, hidden: int, scale: float) -> None:
    """Closure, associativity, identity and inverse hold for random elements."""
    rng = generator(seed)
    a, b, c = (group.sample(hidden, scale=scale, rng=rng) for _ in range(3))
    one = identity(group, hidden)
    assert_close(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, rtol=1e-9, atol=1e-9)
    assert_close((a @ b).matrix, a.matrix @ b.matrix, rtol=0, atol=0)
    assert_close((one @ a).matrix, a.matrix, rtol=0, atol=0)
    assert_close((a @ ~a).matrix, one.matrix, rtol=1e-7, atol=1e-7)
    assert_close((~a @ a).matrix, one.matrix, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("group", "matrix"),
    [
        (Permutation(), torch.eye(2) * 2),
        (MONOMIAL, torch.tensor([[-1.0, 0.0], [0.0, 1.0]])),
        (MONOMIAL, torch.ones(2, 2)),
        (Trivial(), torch.eye(2) * 1.5),
        (SignedPermutation(), torch.tensor([[0.0, -2.0], [1.0, 0.0]])),
        (PositiveScaling(), torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
        (PowerOfTwoScaling(), torch.eye(2) * 3),
        (NonzeroScaling(), torch.diag(torch.tensor([1.0, 0.0]))),
        (UniformScaling(), torch.diag(torch.tensor([1.0, 2.0]))),
        (Product(Orthogonal(), UniformScaling()), torch.diag(torch.tensor([1.0, 2.0]))),
        (DirectSum(Permutation(), 2), torch.eye(4)[[1, 0, 2, 3]][:, [2, 1, 0, 3]]),
        (DirectSum(Permutation(), 2), torch.eye(3)),
        (Orthogonal(), torch.eye(2) * 1.1),
        (GeneralLinear(max_condition=10), torch.diag(torch.tensor([1.0, 0.01]))),
        (GeneralLinear(), torch.zeros(2, 2)),
        (GeneralLinear(), torch.full((2, 2), float("nan"))),
        (GeneralLinear(), torch.ones(2, 3)),
    ],
)
def test_non_members_are_refused(group: Group, matrix: torch.Tensor) -> None:
    """An element cannot be built from a matrix outside its group."""
    with pytest.raises(InputError):
        GroupElement(matrix.double(), group)


def test_projection_bounds_the_condition_number_and_leaves_members_alone() -> None:
    """Projection lifts small singular values to the bound and returns a member unchanged."""
    group = GeneralLinear(max_condition=10)
    wild = torch.diag(torch.tensor([5.0, 1.0, 1e-7], dtype=torch.float64))
    assert group.project(wild).condition() == pytest.approx(10, rel=1e-4)
    tame = torch.diag(torch.tensor([5.0, 1.0, 0.9], dtype=torch.float64))
    assert_close(group.project(tame).matrix, tame, rtol=0, atol=0)


def test_scale_moves_away_from_the_identity() -> None:
    """Scale 0 is the identity; the first-order distance grows as scale times a unit direction of norm sqrt(hidden)."""
    group, hidden = GeneralLinear(), 64
    one = identity(group, hidden).matrix
    assert_close(group.sample(hidden, scale=0.0, rng=generator()).matrix, one)
    distance = torch.linalg.matrix_norm(group.sample(hidden, scale=1e-3, rng=generator()).matrix - one)
    assert float(distance) == pytest.approx(1e-3 * hidden**0.5, rel=0.05)


def test_product_of_different_groups_is_refused() -> None:
    """Elements of different groups do not multiply."""
    with pytest.raises(InputError, match="expected two elements"):
        identity(Permutation(), 3) @ identity(Orthogonal(), 3)


def test_direct_sum_acts_block_by_block() -> None:
    """A sample of a direct sum is block-diagonal, its blocks independent members; odd sizes are refused."""
    group = DirectSum(Orthogonal(), 3)
    matrix = group.sample(6, scale=1.0, rng=generator()).matrix
    assert float((matrix - torch.block_diag(matrix[:2, :2], matrix[2:4, 2:4], matrix[4:, 4:])).abs().max()) == 0.0
    assert float((matrix[:2, :2] - matrix[2:4, 2:4]).abs().max()) > 1e-3
    with pytest.raises(InputError, match="divisible by 3"):
        group.sample(7, scale=1.0, rng=generator())


# A fixed unit, two mirrored pairs and a rotation by thirds.
ORDER = (0, 2, 1, 4, 3, 6, 7, 5)


@pytest.mark.parametrize(
    "group",
    [
        Centraliser(ORDER),
        Commuting(GeneralLinear(), ORDER),
        Commuting(Orthogonal(), ORDER),
        Product(Centraliser(ORDER), Commuting(PositiveScaling(), ORDER)),
    ],
    ids=["permutations", "matrices", "rotations", "permutation x scaling"],
)
@given(seed=st.integers(0, 2**31))
def test_commuting_groups(group: Group, seed: int) -> None:
    """Samples commute with the symmetry, differ from the identity in most draws, and obey the axioms."""
    rng = generator(seed)
    a, b = (group.sample(8, scale=0.5, rng=rng) for _ in range(2))
    rho = torch.eye(8, dtype=torch.float64)[list(ORDER)]
    for element in (a, b, a @ b, ~a):
        assert_close(rho @ element.matrix, element.matrix @ rho, rtol=1e-9, atol=1e-9)
    assert_close((a @ ~a).matrix, torch.eye(8, dtype=torch.float64), rtol=1e-8, atol=1e-8)


def test_every_commuting_permutation_is_drawn() -> None:
    """The centraliser of two pairs has eight elements: exchanged or not, each turned or not."""
    group, rng = Centraliser((1, 0, 3, 2)), generator()
    drawn = {tuple(group.sample(4, scale=1.0, rng=rng).matrix.argmax(1).tolist()) for _ in range(200)}
    assert len(drawn) == 8


def test_elements_that_do_not_commute_are_refused() -> None:
    """Membership looks at the symmetry, not at the group alone; a representation must be a permutation."""
    outside = GeneralLinear().sample(8, scale=0.3, rng=generator()).matrix
    with pytest.raises(InputError, match="rho g rho"):
        GroupElement(outside, Commuting(GeneralLinear(), ORDER))
    with pytest.raises(InputError, match="rho g rho"):
        GroupElement(torch.eye(8, dtype=torch.float64)[[1, 0, 2, 3, 4, 5, 6, 7]], Centraliser(ORDER))
    with pytest.raises(InputError, match="permutation of 0"):
        Centraliser((0, 0, 1))
    with pytest.raises(InputError, match="8 units"):
        Commuting(GeneralLinear(), ORDER).sample(6, scale=0.1, rng=generator())


def test_projection_of_a_direct_sum_drops_what_mixes_blocks() -> None:
    """Blocks are projected one by one, the rest becomes zero; a group without projection says so."""
    matrix = GeneralLinear().sample(6, scale=0.5, rng=generator()).matrix
    projected = DirectSum(GeneralLinear(), 2).project(matrix).matrix
    assert_close(projected[:3, :3], matrix[:3, :3])
    assert float(projected[:3, 3:].abs().max()) == 0.0
    with pytest.raises(InputError, match="projection"):
        DirectSum(Permutation(), 2).project(matrix)
