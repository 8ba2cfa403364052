"""Group elements as values, and the groups that act on hidden units."""

from ensemble.groups.commuting import Centraliser, Commuting
from ensemble.groups.composite import DirectSum, Product
from ensemble.groups.continuous import GeneralLinear, Orthogonal, UniformScaling
from ensemble.groups.element import (
    Group,
    GroupElement,
    SplittingGroup,
    all_finite,
    entrywise_power,
    identity,
    inverse,
    monomial_form,
)
from ensemble.groups.monomial import (
    NonzeroScaling,
    Permutation,
    PositiveScaling,
    PowerOfTwoScaling,
    SignedPermutation,
    Trivial,
)

__all__ = [
    # values
    "Group",
    "GroupElement",
    "SplittingGroup",
    "all_finite",
    "entrywise_power",
    "identity",
    "inverse",
    "monomial_form",
    # one entry in every row and column
    "NonzeroScaling",
    "Permutation",
    "PositiveScaling",
    "PowerOfTwoScaling",
    "SignedPermutation",
    "Trivial",
    # mixing units
    "GeneralLinear",
    "Orthogonal",
    "UniformScaling",
    # made of groups
    "Centraliser",
    "Commuting",
    "DirectSum",
    "Product",
]
