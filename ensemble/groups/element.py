r"""Group elements as values: what acts on the hidden axis of a site.

A `Group` owns membership and sampling; a `GroupElement` carries its matrix `g` `[hidden hidden]` (column convention:
pre-activations `z` become `g z`), multiplies with `@`, inverts with `~`, and cannot be built from a non-member. All
matrices are float64 on the CPU: they are small, and what they are used for is solved in float64.

Sampling takes `scale` (the multiplier tau of a random Lie-algebra element): 0 gives the identity's component, larger
values go further along the orbit. A discrete group ignores it.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ensemble.errors import InputError

TOLERANCE = 1e-9


class Group(Protocol):
    """What every group offers."""

    @property
    def name(self) -> str:
        """Return the group's name, as reports print it."""
        ...

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether `matrix` `[hidden hidden]` is a member, and the reason in words."""
        ...

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> "GroupElement":
        """Return a random element acting on `hidden` units."""
        ...


class SplittingGroup(Group, Protocol):
    """A group that can be split off a matrix from the left: what a product needs of its first factor."""

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return (l, r) with l r = `matrix` and l the group's natural candidate; l need not be a member."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GroupElement:
    """A member of a group, checked when built.

    Raises:
        InputError: the matrix is not square, not finite, or not a member.
    """

    matrix: Tensor
    group: Group

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"group element: expected a square matrix, got shape {tuple(matrix.shape)}")
        if not all_finite(matrix):
            raise InputError("group element: expected finite entries, got NaN or infinity; lower the scale")
        member, reason = self.group.explain(matrix)
        if not member:
            raise InputError(f"not an element of {self.group.name}: {reason}")

    def __matmul__(self, other: "GroupElement") -> "GroupElement":
        if other.group != self.group:
            raise InputError(f"product: expected two elements of {self.group.name}, got one of {other.group.name}")
        return GroupElement(product(self.matrix, other.matrix), self.group)

    def __invert__(self) -> "GroupElement":
        return GroupElement(inverse(self.matrix), self.group)

    @property
    def hidden(self) -> int:
        """Return the number of hidden units the element acts on."""
        return self.matrix.shape[0]

    def condition(self) -> float:
        """Return the 2-norm condition number of the matrix (1 is perfectly conditioned)."""
        return float(torch.linalg.cond(self.matrix))


def identity(group: Group, hidden: int) -> GroupElement:
    """Return the neutral element of `group` on `hidden` units."""
    return GroupElement(torch.eye(hidden, dtype=torch.float64), group)


def monomial_form(matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return (order, values) with matrix[i, order[i]] = values[i] and zeros elsewhere; None for any other matrix.

    Permutations and scalings of thousands of units are applied by index: exactly, and without a dense product.
    """
    return _single_entries(matrix, matrix)


def monomial_values(matrix: Tensor) -> Tensor | None:
    """Return the entries above the tolerance if every row and column holds one of them, else None."""
    form = _single_entries(matrix.abs() > TOLERANCE, matrix)
    return None if form is None else form[1]


def _single_entries(support: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    size = matrix.shape[0]
    if int(torch.count_nonzero(support)) != size:
        return None
    rows, columns = support.nonzero(as_tuple=True)
    every = torch.arange(size, device=matrix.device)
    if not torch.equal(rows, every) or not torch.equal(columns.sort().values, every):
        return None
    return columns, matrix[rows, columns]


def all_finite(values: Tensor) -> bool:
    """Return whether there is no NaN and no infinity; a finite sum, which is cheap, proves it."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def inverse(matrix: Tensor) -> Tensor:
    """Return the inverse `[hidden hidden]`, by index where the matrix has one entry in every row and column."""
    form = monomial_form(matrix)
    if form is None:
        dense: Tensor = torch.linalg.inv(matrix)
        return dense
    order, values = form
    result = torch.zeros_like(matrix)
    result[order, torch.arange(order.shape[0], device=order.device)] = 1 / values
    return result


def entrywise_power(matrix: Tensor, degree: float) -> Tensor:
    """Return the matrix with its non-zero entries raised to a power: g's action behind a function of that degree.

    Degree 1 gives the matrix itself, degree 0 the mere relabelling.
    """
    if degree == 1:
        return matrix
    nonzero = matrix != 0
    raised = torch.where(nonzero, matrix, torch.ones_like(matrix)) ** degree
    return torch.where(nonzero, raised, torch.zeros_like(matrix))


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right, by index where the left factor has one entry in every row and column."""
    form = monomial_form(left)
    if form is None:
        return left @ right
    order, values = form
    return values.unsqueeze(1) * right[order]


def span(values: Tensor) -> str:
    """Return "least to greatest" for messages."""
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}" if values.numel() else "none"
