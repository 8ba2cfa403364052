"""Groups with one entry in every row and column: what commutes with an elementwise activation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.groups.element import TOLERANCE, GroupElement, identity, monomial_values, product, span


@dataclass(frozen=True, slots=True)
class Trivial:
    """The identity alone: what is left where nothing commutes."""

    name: str = "trivial"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is the identity."""
        error = float((matrix - torch.eye(matrix.shape[0], dtype=matrix.dtype)).abs().max())
        return error < TOLERANCE, f"max |g - 1| = {error:.3g}"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return the identity."""
        return identity(self, hidden)


@dataclass(frozen=True, slots=True)
class Permutation:
    """Relabelling of hidden units: exact for every elementwise activation."""

    name: str = "permutation"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether every row and column holds a single 1."""
        return _explain_entries(matrix, signed=False)

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return a uniform permutation; the group is discrete, so `scale` is ignored."""
        order = torch.randperm(hidden, generator=rng)
        return GroupElement(torch.eye(hidden, dtype=torch.float64)[order], self)

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pattern of the entries and what is left on its right."""
        pattern = (matrix.abs() > TOLERANCE).to(matrix.dtype)
        return pattern, product(pattern.T, matrix)


@dataclass(frozen=True, slots=True)
class SignedPermutation:
    """Relabelling with signs: exact for odd elementwise activations (tanh, sin)."""

    name: str = "signed permutation"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether every row and column holds a single entry of size 1."""
        return _explain_entries(matrix, signed=True)

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return a uniform signed permutation; the group is discrete, so `scale` is ignored."""
        order = torch.randperm(hidden, generator=rng)
        signs = torch.randint(0, 2, (hidden, 1), generator=rng).double() * 2 - 1
        return GroupElement(torch.eye(hidden, dtype=torch.float64)[order] * signs, self)

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs of the entries and what is left on their right."""
        signs = torch.where(matrix.abs() > TOLERANCE, matrix.sign(), torch.zeros_like(matrix))
        return signs, product(signs.T, matrix)


@dataclass(frozen=True, slots=True)
class PositiveScaling:
    """Positive diagonal matrices: exact for positively homogeneous activations."""

    name: str = "positive scaling"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is diagonal with positive entries."""
        diagonal, reason = _diagonal(matrix)
        return diagonal and bool((matrix.diagonal() > 0).all()), reason

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return diag(exp(scale N(0, 1)))."""
        noise = torch.randn(hidden, dtype=torch.float64, generator=rng)
        return GroupElement(torch.diag(torch.exp(scale * noise)), self)

    def direction(self, hidden: int, rng: torch.Generator) -> Tensor:
        """Return a random algebra element: diagonal, N(0, 1)."""
        return torch.diag(torch.randn(hidden, dtype=torch.float64, generator=rng))


@dataclass(frozen=True, slots=True)
class PowerOfTwoScaling:
    """Diagonal powers of two: floating point multiplies by them exactly, so outputs stay equal to the bit."""

    name: str = "power-of-two scaling"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is diagonal with powers of two on it."""
        positive, reason = PositiveScaling().explain(matrix)
        exact = positive and bool((torch.exp2(torch.log2(matrix.diagonal()).round()) == matrix.diagonal()).all())
        return exact, f"expected powers of two: {reason}"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return diag(2^round(2 scale N(0, 1)))."""
        noise = torch.randn(hidden, dtype=torch.float64, generator=rng)
        return GroupElement(torch.diag(torch.exp2(torch.round(2 * scale * noise))), self)


@dataclass(frozen=True, slots=True)
class NonzeroScaling:
    """Invertible diagonal matrices: exact for integer powers z^d."""

    name: str = "nonzero scaling"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is diagonal without zeros on it."""
        diagonal, reason = _diagonal(matrix)
        return diagonal and bool((matrix.diagonal() != 0).all()), reason

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return diag(±exp(scale N(0, 1))) with fair signs."""
        noise = torch.randn(hidden, dtype=torch.float64, generator=rng)
        signs = torch.randint(0, 2, (hidden,), generator=rng).double() * 2 - 1
        return GroupElement(torch.diag(signs * torch.exp(scale * noise)), self)


def _explain_entries(matrix: Tensor, signed: bool) -> tuple[bool, str]:
    """Return whether every row and column holds one entry of size 1, negative only if `signed`."""
    values = monomial_values(matrix)
    if values is None:
        return False, "expected one entry in every row and column"
    sizes = values.abs() if signed else values
    wanted = "0, 1, -1" if signed else "0 and 1"
    return bool(((sizes - 1).abs() < TOLERANCE).all()), f"expected entries {wanted}, got {span(values)}"


def _diagonal(matrix: Tensor) -> tuple[bool, str]:
    """Return whether nothing but the diagonal is above the tolerance."""
    diagonal = matrix.diagonal()
    above = int(torch.count_nonzero(matrix.abs() > TOLERANCE)), int(torch.count_nonzero(diagonal.abs() > TOLERANCE))
    return above[0] == above[1], f"{above[0] - above[1]} entries off the diagonal, diagonal {span(diagonal)}"
