"""What may still act on hidden units after everything that treats them has had its say."""

from dataclasses import dataclass, fields

from ensemble.groups import (
    DirectSum,
    GeneralLinear,
    Group,
    NonzeroScaling,
    Orthogonal,
    Permutation,
    PositiveScaling,
    Product,
    SignedPermutation,
    Trivial,
)


@dataclass(frozen=True, slots=True)
class Freedom:
    """Five kinds of change; what lies between two layers keeps some and forbids others.

    Attributes:
        relabel: permuting units.
        scale: positive factors per unit.
        sign: signs per unit.
        rotate: rotating all units.
        mix: any invertible matrix.
    """

    relabel: bool = False
    scale: bool = False
    sign: bool = False
    rotate: bool = False
    mix: bool = False

    def __and__(self, other: "Freedom") -> "Freedom":
        return Freedom(*(getattr(self, field.name) and getattr(other, field.name) for field in fields(self)))

    def group(self, blocks: int) -> Group:
        """Return the largest group of the table with only these changes, on each of `blocks` equal blocks."""
        whole = next((group for needed, group in _GROUPS if needed & self == needed), Trivial())
        return whole if blocks == 1 or isinstance(whole, Trivial) else DirectSum(whole, blocks)


EVERYTHING = Freedom(relabel=True, scale=True, sign=True, rotate=True, mix=True)
SEPARATE = Freedom(relabel=True, scale=True, sign=True)
MONOTONE = Freedom(relabel=True, scale=True)
RELABELLING = Freedom(relabel=True)

# Largest first: the first row whose needs are met names the group.
_GROUPS: tuple[tuple[Freedom, Group], ...] = (
    (EVERYTHING, GeneralLinear()),
    (Freedom(relabel=True, sign=True, rotate=True), Orthogonal()),
    (SEPARATE, Product(Permutation(), NonzeroScaling())),
    (MONOTONE, Product(Permutation(), PositiveScaling())),
    (Freedom(relabel=True, sign=True), SignedPermutation()),
    (RELABELLING, Permutation()),
    (Freedom(scale=True, sign=True), NonzeroScaling()),
    (Freedom(scale=True), PositiveScaling()),
)


def freedom_of(group: Group) -> Freedom:
    """Return what a group of the activations' table allows; nothing for a group that is not in it."""
    return next((freedom for freedom, known in _GROUPS if known == group), Freedom())
