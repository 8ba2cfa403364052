r"""Elements that commute with a discrete symmetry of the data, acting on the hidden units as a relabelling.

A network is equivariant where its pre-activations obey z(s x) = rho(s) z(x) for a symmetry s of the inputs (a
reflection, say) and rho(s) relabels hidden units. With g rho = rho g the acted layer obeys the same rule, so a member
keeps the equivariance; with any other g it loses it as soon as the upper weights are refitted.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.groups.element import TOLERANCE, Group, GroupElement, product
from ensemble.groups.monomial import Permutation


class MatrixGroup(Group, Protocol):
    """A connected matrix group whose algebra is closed under relabelling of units: what `Commuting` averages over."""

    def direction(self, hidden: int, rng: torch.Generator) -> Tensor:
        """Return a random algebra element `[hidden hidden]`."""
        ...


@dataclass(frozen=True, slots=True)
class Centraliser:
    """Permutations of hidden units that commute with a given one.

    Attributes:
        order: the symmetry's action: unit i of the transformed input's features is unit order[i] of the input's.
    """

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise InputError(f"a representation: expected a permutation of 0..{len(self.order) - 1}, got {self.order}")

    @property
    def name(self) -> str:
        """Return the group's name."""
        return "permutations that commute with a symmetry"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is a permutation that commutes with the symmetry."""
        member, reason = Permutation().explain(matrix)
        return (member, reason) if not member else _commutes(matrix, self.order)

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return a uniform member: cycles of equal length are exchanged and turned; `scale` is ignored."""
        _check_size(self.order, hidden)
        target = [0] * hidden
        by_length: dict[int, list[list[int]]] = {}
        for cycle in _cycles(self.order):
            by_length.setdefault(len(cycle), []).append(cycle)
        for length, cycles in by_length.items():
            places = torch.randperm(len(cycles), generator=rng).tolist()
            for cycle, place in zip(cycles, places, strict=True):
                turn = int(torch.randint(length, (1,), generator=rng))
                for index, unit in enumerate(cycle):
                    target[unit] = cycles[place][(index + turn) % length]
        return GroupElement(torch.eye(hidden, dtype=torch.float64)[target], self)

    def split(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pattern of the entries and what is left on its right."""
        pattern = (matrix.abs() > TOLERANCE).to(matrix.dtype)
        return pattern, product(pattern.T, matrix)


@dataclass(frozen=True, slots=True)
class Commuting:
    """Members of a matrix group that commute with a symmetry of the data.

    Attributes:
        group: general linear, say.
        order: the symmetry's action on the hidden units, as in `Centraliser`.
    """

    group: MatrixGroup
    order: tuple[int, ...]

    @property
    def name(self) -> str:
        """Return the group's name and what it commutes with."""
        return f"{self.group.name} that commutes with a symmetry"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is a member of the group and commutes with the symmetry."""
        member, reason = self.group.explain(matrix)
        return (member, reason) if not member else _commutes(matrix, self.order)

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return exp(scale T), T a random algebra element averaged over the symmetry's powers."""
        _check_size(self.order, hidden)
        direction = _averaged(self.group.direction(hidden, rng), self.order)
        return GroupElement(torch.matrix_exp(scale * direction), self)


def _averaged(matrix: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return the mean of rho^k matrix rho^-k over all powers of the symmetry."""
    index = torch.tensor(order)
    identity = torch.arange(len(order))
    power, total, count = identity, torch.zeros_like(matrix), 0
    while True:
        total = total + matrix[power][:, power]
        count += 1
        power = power[index]
        if torch.equal(power, identity):
            return total / count


def _commutes(matrix: Tensor, order: tuple[int, ...]) -> tuple[bool, str]:
    if len(order) != matrix.shape[0]:
        return False, f"expected {len(order)} units, got {matrix.shape[0]}"
    index = torch.tensor(order)
    error = float((matrix[index][:, index] - matrix).abs().max())
    return error < TOLERANCE * max(1.0, float(matrix.abs().max())), f"max |rho g rho^-1 - g| = {error:.3g}"


def _cycles(order: tuple[int, ...]) -> list[list[int]]:
    left, found = set(range(len(order))), []
    while left:
        unit = min(left)
        cycle = []
        while unit in left:
            left.remove(unit)
            cycle.append(unit)
            unit = order[unit]
        found.append(cycle)
    return found


def _check_size(order: tuple[int, ...], hidden: int) -> None:
    if len(order) != hidden:
        raise InputError(f"a symmetry of {len(order)} units: expected as many hidden units, got {hidden}")
