"""The figures this package reproduces, one row each; figures 10 and 11 attack networks and live in `attacks.paper`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from ensemble.paper import figure3, figure4, figure5, figure6, figure7, figure9
from ensemble.paper.values import Report


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        number: number of the figure in the official code's README.
        title: what it shows.
        default: reproduces it at a shortened horizon.
        full: reproduces it at the official horizon.
    """

    number: int
    title: str
    default: Callable[[], Report]
    full: Callable[[], Report]


TABLE: tuple[Row, ...] = tuple(
    Row(module.NUMBER, module.TITLE, partial(module.run, module.DEFAULT), partial(module.run, module.OFFICIAL))
    for module in (figure3, figure4, figure5, figure6, figure7, figure9)
)
#: Figures that cannot be reproduced, with the reason.
MISSING: Final = MappingProxyType(
    {8: "the content of figure 8 is not known to the account this package follows; nothing is shown in its place"}
)
