"""Groups that mix hidden units: rotations, uniform factors, and every invertible matrix."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.groups.element import TOLERANCE, GroupElement


@dataclass(frozen=True, slots=True)
class UniformScaling:
    """One positive factor for all units."""

    name: str = "uniform scaling"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is a positive multiple of the identity."""
        factor = float(matrix[0, 0])
        error = float((matrix - factor * torch.eye(matrix.shape[0], dtype=matrix.dtype)).abs().max())
        return factor > 0 and error < 1e3 * TOLERANCE * max(factor, 1.0), f"factor {factor:.3g}, error {error:.3g}"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return exp(scale N(0, 1)) times the identity."""
        factor = torch.exp(scale * torch.randn((), dtype=torch.float64, generator=rng))
        return GroupElement(factor * torch.eye(hidden, dtype=torch.float64), self)


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
        return GroupElement(torch.matrix_exp(scale * self.direction(hidden, rng)), self)

    def direction(self, hidden: int, rng: torch.Generator) -> Tensor:
        """Return a random algebra element (T - Tᵀ)/√2."""
        direction = _direction(hidden, rng)
        return (direction - direction.T) / 2**0.5

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the orthogonal polar factor and what is left on its right."""
        left, _, right = torch.linalg.svd(matrix)
        factor: Tensor = left @ right
        return factor, factor.T @ matrix


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
        return self.project(torch.matrix_exp(scale * self.direction(hidden, rng)))

    def direction(self, hidden: int, rng: torch.Generator) -> Tensor:
        """Return a random algebra element T with T_ij ~ N(0, 1/hidden)."""
        return _direction(hidden, rng)

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
