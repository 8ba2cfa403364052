"""How far a piece of work has come."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work has come.

    Attributes:
        done: steps finished.
        total: steps in all.
        message: what was finished last.
    """

    done: int
    total: int
    message: str


ProgressCallback = Callable[[Progress], None]
