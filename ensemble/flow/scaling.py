r"""The laws of hidden units: what a group element multiplies, weighted by degree and sign, one number or one matrix.

Derived here from the exact groups of the sites: a group element multiplies a writer's unit by `c^degree` and a reader's
by `c^-degree`, which conserves

.. math:: Q_i = \tfrac12 \Big( \sum_{\text{readers}} d \lVert u_i \rVert^2
                - \sum_{\text{writers}} d (\lVert v_i \rVert^2 + b_i^2) \Big)

per hidden unit i. Where a BatchNorm follows the writer, its own weight and bias take the place of v and b: they are
what scales the units. docs/mathematics.md, section 12.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.flow.generators import symmetric_projection
from ensemble.flow.law import ANY_DATA, Parameters
from ensemble.groups import Group
from ensemble.sites import Role


@dataclass(frozen=True, slots=True)
class Term:
    """One parameter that a group element multiplies.

    Attributes:
        parameter: its name in the state dictionary.
        role: units on the first axis (writer) or on the second (reader).
        weight: its sign and degree: +degree for readers, -degree for writers.
        groups: channel groups of a reader.
    """

    parameter: str
    role: Role
    weight: float
    groups: int = 1

    def rows(self, tensor: Tensor, hidden: int) -> Tensor:
        """Return the parameter with its hidden units first, `[hidden ...]` flattened."""
        if self.role is not Role.READER:
            return tensor.reshape(hidden, -1)
        return tensor.reshape(self.groups, tensor.shape[0] // self.groups, hidden // self.groups, -1).transpose(
            1, 2
        ).reshape(hidden, -1)  # fmt: skip

    def scaled(self, tensor: Tensor, factors: Tensor) -> Tensor:
        """Return the parameter after every unit i was multiplied by `factors[i]` on the writers' side."""
        powers = factors.to(tensor) ** -self.weight
        if self.role is not Role.READER:
            return tensor * powers.reshape(-1, *[1] * (tensor.ndim - 1))
        split = tensor.reshape(self.groups, tensor.shape[0] // self.groups, len(factors) // self.groups, -1)
        return (split * powers.reshape(self.groups, 1, -1, 1)).reshape(tensor.shape)


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """One quantity per hidden unit, from the scalings of units that change no output.

    Attributes:
        name: the site's name.
        hidden: number of units.
        terms: every parameter that a scaling multiplies.
        condition: what it depends on.
    """

    name: str
    hidden: int
    terms: tuple[Term, ...]
    condition: str = ANY_DATA
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the terms' parameters."""
        return tuple(term.parameter for term in self.terms)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return Q of every hidden unit `[hidden]`."""
        return _weighted([term.weight for term in self.terms], self.energies(parameters))

    def size(self, parameters: Parameters) -> Tensor:
        """Return half the weighted squared norms of every hidden unit `[hidden]`."""
        return _weighted([abs(term.weight) for term in self.terms], self.energies(parameters))

    def energies(self, parameters: Parameters) -> Tensor:
        """Return the squared norm of every unit in every term `[terms hidden]`."""
        return torch.stack([term.rows(parameters[term.parameter], self.hidden).square().sum(1) for term in self.terms])


@dataclass(frozen=True, slots=True)
class MatrixLaw:
    """A matrix of quantities where units may be mixed: layers with no activation between them.

    Attributes:
        name: the site's name.
        hidden: number of units.
        terms: every parameter that a group element multiplies.
        group: the exact group; the matrix is projected on its symmetric generators.
        condition: what it depends on.
    """

    name: str
    hidden: int
    terms: tuple[Term, ...]
    group: Group
    condition: str = ANY_DATA
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the terms' parameters."""
        return tuple(term.parameter for term in self.terms)

    @property
    def units(self) -> ScalingLaw:
        """Return the diagonal: the law of every unit alone."""
        return ScalingLaw(self.name, self.hidden, self.terms, self.condition)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return 1/2 (U^T U - V V^T - b b^T) `[hidden hidden]`."""
        matrix = torch.stack([term.weight / 2 * self._gram(term, parameters) for term in self.terms]).sum(0)
        return symmetric_projection(self.group, matrix)

    def size(self, parameters: Parameters) -> Tensor:
        """Return the geometric means of the units' sizes `[hidden hidden]`."""
        sizes = self.units.size(parameters)
        return torch.outer(sizes, sizes).sqrt()

    def _gram(self, term: Term, parameters: Parameters) -> Tensor:
        rows = term.rows(parameters[term.parameter], self.hidden)
        return rows @ rows.T


def _weighted(weights: list[float], energies: Tensor) -> Tensor:
    return torch.as_tensor(weights, dtype=energies.dtype, device=energies.device) @ energies / 2
