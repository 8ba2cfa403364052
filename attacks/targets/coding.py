"""How inputs reach the network when it is served: as they are, or rounded to the levels of stored pixels.

A client that sends UINT8 tensors, or an image file, cannot send values between two levels. An attack end to end runs
through the rounding: the verdict is that of the rounded input, the gradient is passed straight through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from ensemble.errors import InputError, UnknownName


class Coding(Protocol):
    """What happens to inputs before the network sees them."""

    @property
    def name(self) -> str:
        """Return the name that reports print."""
        ...

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return what the network receives, same shape, dtype and device; differentiable."""
        ...


@dataclass(frozen=True, slots=True)
class AsSent:
    """Float tensors, which arrive as they are sent."""

    name: str = "FP32"

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the inputs themselves."""
        return inputs


class _StraightThrough(torch.autograd.Function):
    """Rounding whose derivative is taken to be one."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, levels: Tensor, low: float, width: float) -> Tensor:
        """Return the nearest level of each value; halves go to the even level."""
        last = len(levels) - 1
        index = ((inputs - low) / width * last).round().clamp(0, last)
        # Looked up in the values a server decodes: what is computed in another way may be off by the last bit.
        return levels[index.long()]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradient unchanged."""
        return gradients[0], None, None, None


@dataclass(frozen=True, slots=True)
class Rounded:
    """Inputs rounded to `levels` equal steps of the box, as UINT8 tensors and decoded images are.

    An example is measured before it is rounded. Where the clean inputs lie on the levels and epsilon is a multiple of a
    step, rounding cannot leave the ball; else it may, by half a step at most.

    Attributes:
        bounds: (low, high) of every input value.
        levels: how many values there are; 256 for UINT8.
        name: what reports print.

    Raises:
        InputError: fewer than two levels, or malformed bounds.
    """

    bounds: tuple[float, float] = (0.0, 1.0)
    levels: int = 256
    name: str = "UINT8"

    def __post_init__(self) -> None:
        """Check the number of levels and the bounds."""
        if not isinstance(self.levels, int) or self.levels < 2:
            raise InputError(f"levels of a rounding: expected a whole number >= 2, got {self.levels!r}; UINT8 has 256")
        if not self.bounds[0] < self.bounds[1]:
            raise InputError(f"bounds of a rounding: expected low < high, got {self.bounds!r}; pass the inputs' range")

    def table(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the values that can be sent, ascending: low + k (high - low)/(levels - 1).

        For the bounds (0, 1) these are k/255, divided on that device as a server does: a GPU multiplies by 1/255.
        """
        low, high = self.bounds
        steps = torch.arange(self.levels, dtype=dtype, device=device) / (self.levels - 1)
        return low + (high - low) * steps

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the nearest values that can be sent, with the gradient of the identity."""
        low, high = self.bounds
        rounded: Tensor = _StraightThrough.apply(inputs, self.table(inputs.dtype, inputs.device), low, high - low)  # type: ignore[no-untyped-call]
        return rounded


#: What a server that takes FP32 tensors does.
FLOAT32 = AsSent()
#: What a server that takes UINT8 tensors or image files does, for inputs in [0, 1].
UINT8 = Rounded()
#: How clients send inputs, by the datatype's name: bounds -> what the server then does.
CODINGS: Mapping[str, Callable[[tuple[float, float]], Coding]] = MappingProxyType(
    {"FP32": lambda bounds: FLOAT32, "UINT8": Rounded}
)


def coding_named(datatype: str, bounds: tuple[float, float]) -> Coding:
    """Return what happens to inputs that clients send in a datatype.

    Args:
        datatype: a key of `CODINGS`; image files arrive as UINT8.
        bounds: (low, high) of every input value.

    Raises:
        UnknownName: no such datatype.
    """
    if datatype not in CODINGS:
        raise UnknownName("datatype of the inputs", str(datatype), CODINGS)
    return CODINGS[datatype](bounds)
