"""What a conservation law of a network is: conserved values of named parameters, with the conditions they need.

Every law is a function of a mapping of named parameters, so the same law judges a network, a gradient, a step between
two networks, or a whole trajectory.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

Parameters = Mapping[str, Tensor]

ANY_DATA = "any data, any loss"
BATCH_STATISTICS = "training mode: the BatchNorm uses the statistics of the batch, and its epsilon is small beside them"
ORTHONORMAL_INPUTS = "training inputs x with x x^T = 1"


class Law(Protocol):
    """One family of conserved quantities of a network."""

    @property
    def name(self) -> str:
        """Return where in the network it holds."""
        ...

    @property
    def condition(self) -> str:
        """Return on what it depends, beside gradient flow of all its parameters."""
        ...

    @property
    def quadratic(self) -> bool:
        """Return whether it is a quadratic form, so that one gradient step adds exactly its value on the step."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters it reads."""
        ...

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return the conserved values, one per unit or one matrix per head."""
        ...

    def size(self, parameters: Parameters) -> Tensor:
        """Return the squared norms over 2 that the values are differences of: what a drift is compared with."""
        ...
