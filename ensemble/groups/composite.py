"""Groups made of groups: products and direct sums."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.groups.element import TOLERANCE, Group, GroupElement, SplittingGroup, product


@dataclass(frozen=True, slots=True)
class Product:
    """All products l r of two groups, the first of which can be split off: permutation x positive scaling, say."""

    left: SplittingGroup
    right: Group

    @property
    def name(self) -> str:
        """Return both names."""
        return f"{self.left.name} x {self.right.name}"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether both factors of the matrix are members of their groups."""
        first, rest = self.left.split(matrix)
        for group, factor in ((self.left, first), (self.right, rest)):
            member, reason = group.explain(factor)
            if not member:
                return False, f"{group.name} factor: {reason}"
        return True, "both factors are members"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return a product of independent samples."""
        factors = [group.sample(hidden, scale=scale, rng=rng).matrix for group in (self.left, self.right)]
        return GroupElement(product(factors[0], factors[1]), self)


@dataclass(frozen=True, slots=True)
class DirectSum:
    """Block-diagonal matrices with `blocks` equal blocks, each of one group: attention heads, grouped convolutions."""

    group: Group
    blocks: int

    @property
    def name(self) -> str:
        """Return the block's name and how many there are."""
        return f"{self.blocks} blocks of {self.group.name}"

    def explain(self, matrix: Tensor) -> tuple[bool, str]:
        """Return whether the matrix is block-diagonal with members as blocks."""
        hidden = matrix.shape[0]
        if hidden % self.blocks:
            return False, f"expected a size divisible by {self.blocks}, got {hidden}"
        size = hidden // self.blocks
        parts = [matrix[i : i + size, i : i + size] for i in range(0, hidden, size)]
        off = float((matrix - torch.block_diag(*parts)).abs().max())
        if off > TOLERANCE:
            return False, f"entries outside the blocks: {off:.3g}"
        for part in parts:
            member, reason = self.group.explain(part)
            if not member:
                return False, reason
        return True, "every block is a member"

    def sample(self, hidden: int, *, scale: float, rng: torch.Generator) -> GroupElement:
        """Return independent samples as blocks."""
        if hidden % self.blocks:
            raise InputError(f"{self.name}: expected a number of units divisible by {self.blocks}, got {hidden}")
        parts = [self.group.sample(hidden // self.blocks, scale=scale, rng=rng).matrix for _ in range(self.blocks)]
        return GroupElement(torch.block_diag(*parts), self)

    def project(self, matrix: Tensor) -> GroupElement:
        """Return the element with the projections of `matrix`'s diagonal blocks; what lies outside them is dropped.

        Raises:
            InputError: the blocks' group has no projection.
        """
        project = getattr(self.group, "project", None)
        if project is None:
            raise InputError(f"{self.name}: expected blocks of a group with a projection (general linear)")
        size = matrix.shape[0] // self.blocks
        parts = [project(matrix[i : i + size, i : i + size]).matrix for i in range(0, matrix.shape[0], size)]
        return GroupElement(torch.block_diag(*parts), self)
