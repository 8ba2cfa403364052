r"""Group elements as values: what acts on the hidden axis of a site.

A `Group` owns identity, membership and sampling; a `GroupElement` carries its matrix `g` `[hidden hidden]` (column
convention: pre-activations `z` become `g z`), multiplies with `@`, inverts with `~`, and cannot be built from a
non-member. All matrices are float64 on the CPU: they are small, and what they are used for is solved in float64.

Sampling takes `scale` (the multiplier tau of a random Lie-algebra element): 0 gives the identity, larger values go
further along the orbit. A group with no continuous part ignores it.
"""

import math
from collections.abc import Callable
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
        if not bool(torch.isfinite(matrix).all()):
            raise InputError("group element: expected finite entries, got NaN or infinity; lower the scale")
        member, reason = self.group.explain(matrix)
        if not member:
            raise InputError(f"not an element of {self.group.name}: {reason}")

    def __matmul__(self, other: "GroupElement") -> "GroupElement":
        if other.group != self.group:
            raise InputError(f"product: expected two elements of {self.group.name}, got one of {other.group.name}")
        return GroupElement(self.matrix @ other.matrix, self.group)

    def __invert__(self) -> "GroupElement":
        return GroupElement(torch.linalg.inv(self.matrix), self.group)

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


@dataclass(frozen=True, slots=True)
class Permutation:
    """Relabelling of hidden units: exact for every elementwise activation."""

    name: str = "permutation"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether every row and column holds a single 1."""
        return _explain_monomial(matrix, entries=lambda values: bool(((values - 1).abs() < TOLERANCE).all()), want="1")

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return a uniform permutation; the group is discrete, so `scale` is ignored."""
        order = torch.randperm(hidden, generator=rng)
        return GroupElement(torch.eye(hidden, dtype=torch.float64)[order], self)


@dataclass(frozen=True, slots=True)
class PositiveMonomial:
    """Permutation times positive diagonal: the exact group of ReLU and LeakyReLU.

    `powers_of_two` samples scalings of 2^k without permutation: multiplication by them is exact in floating point,
    so such an action leaves the outputs equal to the bit.
    """

    powers_of_two: bool = False
    name: str = "permutation x positive scaling"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether every row and column holds a single positive entry."""
        return _explain_monomial(matrix, entries=lambda values: bool((values > 0).all()), want="positive")

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return diag(exp(scale N(0, 1))) times a uniform permutation."""
        noise = torch.randn(hidden, dtype=torch.float64, generator=rng)
        if self.powers_of_two:
            return GroupElement(torch.diag(torch.exp2(torch.round(2 * scale * noise))), self)
        order = torch.randperm(hidden, generator=rng)
        return GroupElement(torch.diag(torch.exp(scale * noise))[order], self)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """Rotations and reflections: exact for radial activations."""

    name: str = "orthogonal"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether g gᵀ = 1 within the tolerance."""
        eye = torch.eye(matrix.shape[0], dtype=matrix.dtype)
        error = float((matrix @ matrix.T - eye).abs().max())
        return error < 1e3 * TOLERANCE, f"max |g gᵀ - 1| = {error:.3g}"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return exp(scale (T - Tᵀ)/√2) with T_ij ~ N(0, 1/hidden)."""
        direction = _direction(hidden, rng)
        return GroupElement(torch.matrix_exp(scale * (direction - direction.T) / 2**0.5), self)


@dataclass(frozen=True, slots=True)
class GeneralLinear:
    """Invertible matrices with a bounded condition number; exact only for the identity activation.

    Acting with it on another activation is what the data-dependent refit of the upper weight repairs.
    """

    max_condition: float = 1e6
    name: str = "general linear"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the condition number is within the bound."""
        condition = float(torch.linalg.cond(matrix))
        return condition <= self.max_condition, f"condition number {condition:.3g}, bound {self.max_condition:.3g}"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return exp(scale T) with T_ij ~ N(0, 1/hidden), projected to the bound where it exceeds it."""
        return self.project(torch.matrix_exp(scale * _direction(hidden, rng)))

    def project(self, matrix: Tensor) -> GroupElement:
        """Return the element with `matrix`'s singular vectors and its small singular values lifted to the bound."""
        left: Tensor
        left, singular, right = torch.linalg.svd(matrix.to("cpu", torch.float64))
        floor = float(singular[0]) / self.max_condition * (1 + 1e-6)
        if float(singular[-1]) >= floor:
            return GroupElement(matrix.to("cpu", torch.float64), self)
        return GroupElement(left @ torch.diag(singular.clamp_min(floor)) @ right, self)


def _direction(hidden: int, rng: torch.Generator) -> Tensor:
    return torch.randn(hidden, hidden, dtype=torch.float64, generator=rng) / math.sqrt(hidden)


def _explain_monomial(matrix: Tensor, *, entries: Callable[[Tensor], bool], want: str) -> tuple[bool, str]:
    support = matrix.abs() > TOLERANCE
    single = bool((support.sum(0) == 1).all()) and bool((support.sum(1) == 1).all())
    if not single:
        return False, "expected one entry in every row and column"
    values = matrix[support]
    return bool(
        entries(values)
    ), f"expected every entry {want}, got {float(values.min()):.3g} to {float(values.max()):.3g}"
