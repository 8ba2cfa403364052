"""The header of a safetensors file, judged before anything of it is loaded.

    8 bytes   length N of the header, unsigned little-endian
    N bytes   JSON: tensor name -> {dtype, shape, data_offsets}, and optionally `__metadata__` of text
    rest      the tensors' bytes, end to end in the order of their offsets, without a gap

The library that reads the tensors checks most of this too; here every rule is ours, bounded, and refused in words.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ensemble.errors import InputError

MAX_HEADER: Final = 4 << 20  # bytes; a ResNet-152 needs 100 kB
MAX_TENSORS: Final = 20_000
MAX_RANK: Final = 8
#: Bytes of one element.
WIDTHS: Final[Mapping[str, int]] = MappingProxyType(
    {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
)
_LENGTH: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Return what a safetensors file holds, by name; its tensors are not read.

    Args:
        path: the file.

    Raises:
        InputError: it is another format, or its header breaks a rule.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size).ljust(_LENGTH.size, b"\xff"))
        if length > min(MAX_HEADER, max(size - _LENGTH.size, 0)):
            raise _refused(f"a header of at most {MAX_HEADER} bytes inside the file", f"a length of {length}")
        text = file.read(length)
    entries = _parse(text)
    _check_layout(entries, size - _LENGTH.size - length)
    return {name: TensorEntry(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _refused("a JSON object after the length", "other bytes")
    try:
        header: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        raise _refused("a header of JSON in UTF-8", "text that is none") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused("metadata of text", "other values")
    if not 1 <= len(header) <= MAX_TENSORS:
        raise _refused(f"1 to {MAX_TENSORS} tensors", f"{len(header)}")
    return header


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refused("each name once", "one twice")
    return found


def _check_layout(entries: Mapping[str, Any], size: int) -> None:
    """Check that the tensors fill the rest of the file end to end."""
    spans = sorted(_span(name, entry) for name, entry in entries.items())
    position = 0
    for start, stop in spans:
        if start != position:
            raise _refused("tensors end to end", f"a gap or an overlap at byte {min(start, position)}")
        position = stop
    if position != size:
        raise _refused(f"tensors that fill the {size} bytes after the header", f"{position}")


def _span(name: str, entry: Any) -> tuple[int, int]:
    shown = name[:80]
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _refused("dtype, shape and data_offsets of each tensor", f"others for {shown!r}")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in WIDTHS:
        raise _refused(f"a dtype of {sorted(WIDTHS)}", f"{str(entry['dtype'])[:20]!r} for {shown!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or len(shape) > MAX_RANK:
        raise _refused(f"a shape of at most {MAX_RANK} whole numbers", f"another for {shown!r}")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise _refused("two whole numbers as data_offsets", f"others for {shown!r}")
    start, stop = offsets
    if stop - start != prod(shape) * WIDTHS[entry["dtype"]]:
        raise _refused("as many bytes as shape and dtype need", f"{stop - start} for {shown!r}")
    return start, stop


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**53 for value in values)


def _refused(expected: str, got: str) -> InputError:
    return InputError(f"weights: expected a safetensors file with {expected}, got {got}; write it with safetensors")
