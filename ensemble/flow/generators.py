"""What the Lie algebra of each exact group holds: its symmetric generators, which conserve, and its dimension."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ensemble.groups import (
    DirectSum,
    GeneralLinear,
    Group,
    NonzeroScaling,
    Orthogonal,
    PositiveScaling,
    Product,
    UniformScaling,
)


@dataclass(frozen=True, slots=True)
class Algebra:
    """A row: the Lie algebra of one kind of group on `hidden` units.

    Attributes:
        kind: the group's class; classes without a row are discrete.
        symmetric: (group, matrix `[... hidden hidden]`) -> its orthogonal projection on the symmetric generators.
        dimension: (group, hidden) -> dimension of the algebra.
        basis: (group, hidden) -> a basis of the algebra `[dimension hidden hidden]`, float64.
        separates: whether the diagonal generators are among them, so that every unit has a law of its own.
    """

    kind: type
    symmetric: Callable[[Any, Tensor], Tensor]
    dimension: Callable[[Any, int], int]
    basis: Callable[[Any, int], Tensor]
    separates: Callable[[Any], bool]


def symmetric_projection(group: Group, matrix: Tensor) -> Tensor:
    """Return the projection of symmetric matrices `[... hidden hidden]` on the group's symmetric generators.

    Zero for discrete groups and for rotations: their algebras hold no symmetric matrix.
    """
    row = _row(group)
    return torch.zeros_like(matrix) if row is None else row.symmetric(group, matrix)


def algebra_dimension(group: Group, hidden: int) -> int:
    """Return the dimension of the group's Lie algebra on `hidden` units; 0 for discrete groups."""
    row = _row(group)
    return 0 if row is None else row.dimension(group, hidden)


def algebra_basis(group: Group, hidden: int) -> Tensor:
    """Return a basis of the group's Lie algebra `[dimension hidden hidden]`, float64."""
    row = _row(group)
    return torch.zeros(0, hidden, hidden, dtype=torch.float64) if row is None else row.basis(group, hidden)


def separates_units(group: Group) -> bool:
    """Return whether the group scales every hidden unit on its own, so that each unit has a law of its own."""
    row = _row(group)
    return row is not None and row.separates(group)


def _row(group: Group) -> Algebra | None:
    return next((row for row in _ALGEBRAS if isinstance(group, row.kind)), None)


def _diagonal(_: object, matrix: Tensor) -> Tensor:
    return torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


def _uniform(_: object, matrix: Tensor) -> Tensor:
    mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    return mean[..., None, None] * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _block_diagonal(group: DirectSum, matrix: Tensor) -> Tensor:
    size = matrix.shape[-1] // group.blocks
    result = torch.zeros_like(matrix)
    for start in range(0, matrix.shape[-1], size):
        block = (..., slice(start, start + size), slice(start, start + size))
        result[block] = symmetric_projection(group.group, matrix[block])
    return result


def _of_product(group: Product, matrix: Tensor) -> Tensor:
    # In every product of the activation table at most one factor has symmetric generators.
    return symmetric_projection(group.left, matrix) + symmetric_projection(group.right, matrix)


def _all_entries(_: object, hidden: int) -> Tensor:
    return torch.eye(hidden**2, dtype=torch.float64).reshape(-1, hidden, hidden)


def _diagonal_entries(_: object, hidden: int) -> Tensor:
    return torch.diag_embed(torch.eye(hidden, dtype=torch.float64))


def _rotations(_: object, hidden: int) -> Tensor:
    row, column = torch.triu_indices(hidden, hidden, offset=1)
    units = torch.eye(hidden, dtype=torch.float64)
    return torch.einsum("ai,aj->aij", units[row], units[column]) - torch.einsum("ai,aj->aij", units[column], units[row])


def _block_entries(group: DirectSum, hidden: int) -> Tensor:
    size = hidden // group.blocks
    own = algebra_basis(group.group, size)
    result = torch.zeros(group.blocks, len(own), hidden, hidden, dtype=torch.float64)
    for block in range(group.blocks):
        place = slice(block * size, (block + 1) * size)
        result[block, :, place, place] = own
    return result.flatten(0, 1)


_ALGEBRAS: tuple[Algebra, ...] = (
    Algebra(GeneralLinear, lambda _, matrix: matrix, lambda _, hidden: hidden**2, _all_entries, lambda _: True),
    Algebra(PositiveScaling, _diagonal, lambda _, hidden: hidden, _diagonal_entries, lambda _: True),
    Algebra(NonzeroScaling, _diagonal, lambda _, hidden: hidden, _diagonal_entries, lambda _: True),
    Algebra(
        UniformScaling, _uniform, lambda _, hidden: 1,
        lambda _, hidden: torch.eye(hidden, dtype=torch.float64)[None], lambda _: False,
    ),
    Algebra(
        Orthogonal, lambda _, matrix: torch.zeros_like(matrix), lambda _, hidden: hidden * (hidden - 1) // 2,
        _rotations, lambda _: False,
    ),
    Algebra(
        DirectSum, _block_diagonal,
        lambda group, hidden: group.blocks * algebra_dimension(group.group, hidden // group.blocks),
        _block_entries, lambda group: separates_units(group.group),
    ),
    Algebra(
        Product, _of_product,
        lambda group, hidden: algebra_dimension(group.left, hidden) + algebra_dimension(group.right, hidden),
        lambda group, hidden: torch.cat([algebra_basis(group.left, hidden), algebra_basis(group.right, hidden)]),
        lambda group: separates_units(group.left) or separates_units(group.right),
    ),
)  # fmt: skip
