"""The values of an input: from JSON lists or raw bytes to rows that a network takes, or a refusal."""

from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedRequest, TooLarge
from service.inference.datatypes import BYTES, FIXED, item_bytes, split_elements
from service.inference.images import decode_images
from service.inference.message import TensorHead
from service.inference.refusals import refuse, short
from service.inference.signature import Signature, TensorSpec

Rows = NDArray[np.float32] | NDArray[np.uint8]


def read_rows(head: TensorHead, blob: memoryview | None, signature: Signature, *, max_rows: int) -> Rows:
    """Return the rows of an input: float32 in [0, 1], or uint8, `[rows C H W]`.

    Args:
        head: what the JSON part says about it.
        blob: its bytes in the binary part; None where JSON holds it.
        signature: of the addressed view.
        max_rows: rows one request may hold.

    Raises:
        MalformedRequest: it is not what the view declares.
        TooLarge: it holds more rows, or a larger image, than allowed.
    """
    what = f"input {head.name[:80]!r}"
    declared = _declared(head, signature, what)
    _check_shape(head.shape, declared, what, max_rows)
    if declared.datatype == BYTES:
        if blob is None:
            raise MalformedRequest(f"{what}: expected encoded images in binary, got JSON; use the binary extension")
        return decode_images(split_elements(blob, head.shape[0], what), signature.image_shape, what)
    values = _from_json(head, what) if blob is None else _from_bytes(head, blob, what)
    return _in_range(values, declared, what)


def _declared(head: TensorHead, signature: Signature, what: str) -> TensorSpec:
    declared = signature.input(head.name)
    if declared is None:
        refuse("inputs", f"one tensor named one of {[spec.name for spec in signature.inputs]}", head.name)
    if head.datatype != declared.datatype:
        raise MalformedRequest(
            f"{what}.datatype: expected {declared.datatype!r} as declared, got {head.datatype!r}; convert it"
        )
    return declared


def _check_shape(shape: tuple[int, ...], declared: TensorSpec, what: str, max_rows: int) -> None:
    if len(shape) != len(declared.shape) or shape[1:] != declared.shape[1:]:
        refuse(f"{what}.shape", f"{list(declared.shape)}", list(shape))
    if shape[0] < 1:
        raise MalformedRequest(f"{what}.shape: expected at least one row, got {short(list(shape))}; send some")
    if shape[0] > max_rows:
        raise TooLarge(f"{what}.shape: expected at most {max_rows} rows a request, got {short(shape[0])}; split it")


def _from_bytes(head: TensorHead, blob: memoryview, what: str) -> NDArray[Any]:
    expected = prod(head.shape) * item_bytes(head.datatype)
    if len(blob) != expected:
        raise MalformedRequest(
            f"{what}.binary_data_size: expected {expected} bytes for {head.datatype} {list(head.shape)}, got "
            f"{len(blob)}; send every element once, little-endian"
        )
    return np.frombuffer(blob, dtype=FIXED[head.datatype]).reshape(head.shape)


def _from_json(head: TensorHead, what: str) -> NDArray[Any]:
    level = _flat(head.data, head.shape, what)
    if head.datatype == "UINT8" and not all(type(item) is int and 0 <= item <= 255 for item in level):
        refuse(f"{what}.data", "whole numbers from 0 to 255", "others")
    try:
        with np.errstate(over="ignore"):
            return np.array(level, dtype=np.float64).astype(FIXED[head.datatype]).reshape(head.shape)
    except OverflowError:
        raise MalformedRequest(
            f"{what}.data: expected values in [0, 1], got a number beyond every float; scale the pixels"
        ) from None


def _flat(data: Any, shape: tuple[int, ...], what: str) -> list[int | float]:
    if not isinstance(data, list):
        refuse(f"{what}.data", "a list of numbers", data)
    level: list[Any] = data
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            refuse(f"{what}.data", f"{shape[0]} rows", f"{len(data)} rows")
        for size in shape[1:]:
            if not all(type(item) is list and len(item) == size for item in level):
                refuse(f"{what}.data", f"nested lists of the shape {list(shape)}", "ragged or other lists")
            level = list(chain.from_iterable(level))
    if len(level) != prod(shape):
        refuse(f"{what}.data", f"{prod(shape)} numbers for the shape {list(shape)}", f"{len(level)}")
    if not set(map(type, level)) <= {int, float}:
        refuse(f"{what}.data", "numbers only", "a value of another type")
    return level


def _in_range(values: NDArray[Any], declared: TensorSpec, what: str) -> Rows:
    if declared.datatype != "FP32":
        return values
    # The extremes of an array with a NaN are NaN, so two passes see everything that must not be there.
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise MalformedRequest(f"{what}.data: expected finite values, got NaN or infinity; drop or repair these points")
    if low < 0 or high > 1:
        raise MalformedRequest(f"{what}.data: expected values in [0, 1], got {low:g} to {high:g}; scale the pixels")
    return values


def as_flat(values: NDArray[Any]) -> Sequence[Any]:
    """Return an output as JSON numbers, row-major."""
    listed: list[Any] = values.reshape(-1).tolist()
    return listed
