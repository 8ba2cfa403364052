"""Verdicts on the wire: one character per point, "1" where the answer is still right."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensemble.errors import InputError


def to_bits(flags: Tensor) -> str:
    """Return `[batch]` booleans as a string of 0 and 1."""
    return "".join("1" if flag else "0" for flag in flags.tolist())


def from_bits(bits: str) -> NDArray[np.bool_]:
    """Return the booleans of `to_bits`.

    Args:
        bits: a string of 0 and 1.

    Returns:
        `[batch]` bool.

    Raises:
        InputError: another character.
    """
    if set(bits) - {"0", "1"}:
        raise InputError(
            f"stored verdicts: expected the characters 0 and 1 only, got {bits[:40]!r}; run the shard again"
        )
    return np.array([bit == "1" for bit in bits], dtype=np.bool_)
