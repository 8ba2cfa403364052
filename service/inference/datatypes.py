"""Datatypes of the Open Inference Protocol: their arrays, and how `BYTES` lies in memory."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from service.errors import MalformedRequest

# Little-endian, as the binary extension sends them. BF16 has no array of its own: two bytes each, never computed with.
FIXED: Final[Mapping[str, DTypeLike]] = MappingProxyType(
    {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        "BF16": "<u2",
    }
)
BYTES: Final = "BYTES"
NAMES: Final = frozenset({*FIXED, BYTES})
BINARY_ONLY: Final = frozenset({"FP16", "BF16"})
_LENGTH: Final = 4  # bytes in front of every BYTES element: its length, unsigned, little-endian


def item_bytes(datatype: str) -> int:
    """Return the bytes of one element of a fixed-size datatype."""
    return np.dtype(FIXED[datatype]).itemsize


def split_elements(blob: memoryview, count: int, what: str) -> list[memoryview]:
    """Return the elements of a BYTES tensor, views into `blob`.

    Args:
        blob: length-prefixed elements, one after another.
        count: how many the shape announces.
        what: the tensor, for messages.

    Raises:
        MalformedRequest: a length points beyond the end, or the number of elements is another.
    """
    elements: list[memoryview] = []
    start = 0
    while start < len(blob) and len(elements) < count:
        length = int.from_bytes(blob[start : start + _LENGTH], "little")
        end = start + _LENGTH + length
        elements.append(blob[start + _LENGTH : end])
        start = end
    if len(elements) != count or start != len(blob):
        raise MalformedRequest(
            f"{what}: expected {count} elements in {len(blob)} bytes, got {len(elements)} in {start}; "
            "send a 32-bit little-endian length before each element"
        )
    return elements


def joined_bytes(elements: list[bytes]) -> bytes:
    """Return a BYTES tensor: each element behind its length."""
    return b"".join(len(element).to_bytes(_LENGTH, "little") + element for element in elements)
