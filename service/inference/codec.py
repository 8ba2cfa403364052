"""Infer bodies of the Open Inference Protocol, JSON form: bytes to arrays and back; bad bodies are refused here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedRequest, TooLarge
from service.inference.signature import Signature, TensorSpec
from service.json_body import load_json

MAX_RANK: Final = 8
DATATYPES: Final = frozenset(
    {
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
        "FP64",
        "BYTES",
        "BF16",
    }
)
_REQUEST_KEYS: Final = frozenset({"id", "parameters", "inputs", "outputs"})
_INPUT_KEYS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
_OUTPUT_KEYS: Final = frozenset({"name", "parameters"})
_BINARY: Final = frozenset({"binary_data", "binary_data_output"})

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed request.

    Attributes:
        id: the client's own, returned as it came.
        rows: float32 `[rows C H W]`, finite, in [0, 1].
        outputs: names to answer, in order.
    """

    id: str | None
    rows: NDArray[np.float32]
    outputs: tuple[str, ...]


def parse_infer(body: bytes, signature: Signature, *, max_rows: int) -> InferRequest:
    """Return the request in `body`, checked against what the model takes.

    Args:
        body: JSON text.
        signature: inputs and outputs of the addressed view.
        max_rows: rows one request may hold.

    Raises:
        MalformedRequest: anything about it cannot be read or was not declared.
        TooLarge: it holds more rows than allowed.
    """
    request = _object(load_json(body, parse_constant=_refuse_constant), "request", _REQUEST_KEYS)
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        _refuse("id", "a string", identity)
    _check_parameters(request.get("parameters"), "parameters")
    rows = _rows(request.get("inputs"), signature.input, max_rows)
    return InferRequest(identity, rows, _outputs(request.get("outputs"), signature))


def render_infer(
    model: str, version: str, request: InferRequest, results: Mapping[str, Array], signature: Signature
) -> bytes:
    """Return the response body, tensors flat in row-major order."""
    datatypes = {output.name: output.datatype for output in signature.outputs}
    outputs = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": list(results[name].shape),
            "data": results[name].reshape(-1).tolist(),
        }
        for name in request.outputs
    ]
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id is not None:
        response["id"] = request.id
    return json.dumps(response, allow_nan=False, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"request: expected finite numbers, got the literal {name}; drop or repair these points")


def _object(value: Any, what: str, keys: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(what, "a JSON object", value)
    unknown = sorted(value.keys() - keys)
    if unknown:
        _refuse(what, f"only the fields {sorted(keys)}", unknown[0])
    return value


def _check_parameters(value: Any, what: str) -> None:
    if value is None:
        return
    for name, setting in _object(value, what, frozenset(value) if isinstance(value, dict) else frozenset()).items():
        if name not in _BINARY:
            raise MalformedRequest(
                f"{what}: expected none but 'binary_data_output', got {name[:80]!r}, which is not supported"
            )
        if setting is not False:
            raise MalformedRequest(
                f"{what}.{name}: expected false, got {_short(setting)}; the binary extension is not offered"
            )


def _rows(value: Any, declared: TensorSpec, max_rows: int) -> NDArray[np.float32]:
    tensors = _named(value, "inputs", _INPUT_KEYS)
    if set(tensors) != {declared.name}:
        _refuse("inputs", f"exactly one tensor named {declared.name!r}", sorted(tensors))
    tensor = tensors[declared.name]
    what = f"input {declared.name!r}"
    _check_parameters(tensor.get("parameters"), f"{what}.parameters")
    _check_datatype(tensor.get("datatype"), declared, what)
    shape = _shape(tensor.get("shape"), declared, what, max_rows)
    if "data" not in tensor:
        raise MalformedRequest(f"{what}: expected `data`, got none; the binary extension is not offered")
    return _unit_interval(_flat(tensor["data"], shape, what), shape, what)


def _named(value: Any, what: str, keys: frozenset[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(value, list):
        _refuse(what, "a list of objects", value)
    named: dict[str, dict[str, Any]] = {}
    for item in value:
        tensor = _object(item, what, keys)
        name = tensor.get("name")
        if not isinstance(name, str):
            _refuse(f"{what}[].name", "a string", name)
        if name in named:
            _refuse(what, "each name once", name)
        named[name] = tensor
    return named


def _check_datatype(value: Any, declared: TensorSpec, what: str) -> None:
    if not isinstance(value, str) or value not in DATATYPES:
        _refuse(f"{what}.datatype", f"{declared.datatype!r}", value)
    if value != declared.datatype:
        hint = "; use the binary extension" if value in ("FP16", "BF16") else ""
        raise MalformedRequest(f"{what}.datatype: expected {declared.datatype!r} as declared, got {value!r}{hint}")


def _shape(value: Any, declared: TensorSpec, what: str, max_rows: int) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or len(value) > MAX_RANK
        or not all(type(size) is int and size >= 0 for size in value)
    ):
        _refuse(f"{what}.shape", f"at most {MAX_RANK} whole numbers >= 0", value)
    shape = tuple(value)
    if len(shape) != len(declared.shape) or shape[1:] != declared.shape[1:]:
        _refuse(f"{what}.shape", f"{list(declared.shape)}", value)
    if shape[0] < 1:
        raise MalformedRequest(f"{what}.shape: expected at least one row, got {_short(value)}; send some")
    if shape[0] > max_rows:
        raise TooLarge(f"{what}.shape: expected at most {max_rows} rows a request, got {_short(shape[0])}; split it")
    return shape


def _flat(data: Any, shape: tuple[int, ...], what: str) -> list[int | float]:
    if not isinstance(data, list):
        _refuse(f"{what}.data", "a list of numbers", data)
    level: list[Any] = data
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            _refuse(f"{what}.data", f"{shape[0]} rows", f"{len(data)} rows")
        for size in shape[1:]:
            if not all(type(item) is list and len(item) == size for item in level):
                _refuse(f"{what}.data", f"nested lists of the shape {list(shape)}", "ragged or other lists")
            level = list(chain.from_iterable(level))
    if len(level) != prod(shape):
        _refuse(f"{what}.data", f"{prod(shape)} numbers for the shape {list(shape)}", f"{len(level)}")
    if not set(map(type, level)) <= {int, float}:
        _refuse(f"{what}.data", "numbers only", "a value of another type")
    return level


def _unit_interval(level: Sequence[int | float], shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            rows = np.array(level, dtype=np.float64).astype(np.float32).reshape(shape)
    except OverflowError:
        raise MalformedRequest(f"{what}.data: expected values in [0, 1], got a number beyond every float") from None
    if not np.isfinite(rows).all():
        raise MalformedRequest(f"{what}.data: expected finite values, got NaN or infinity; drop or repair these points")
    low, high = float(rows.min()), float(rows.max())
    if low < 0 or high > 1:
        raise MalformedRequest(f"{what}.data: expected values in [0, 1], got {low:g} to {high:g}; scale the pixels")
    return rows


def _outputs(value: Any, signature: Signature) -> tuple[str, ...]:
    if value is None:
        return signature.output_names
    named = _named(value, "outputs", _OUTPUT_KEYS)
    for name, output in named.items():
        _check_parameters(output.get("parameters"), f"output {name[:80]!r}.parameters")
        if name not in signature.output_names:
            _refuse("outputs", f"names among {list(signature.output_names)}", name)
    return tuple(named) or signature.output_names


def _refuse(what: str, expected: str, got: Any) -> NoReturn:
    raise MalformedRequest(f"{what}: expected {expected}, got {_short(got)}; the model's metadata says what it takes")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, list) and len(value) > MAX_RANK:
        return f"a list of {len(value)} items"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return "a nested list"
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return "nothing" if value is None else repr(value)[:80]
