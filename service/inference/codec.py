"""Infer bodies of the Open Inference Protocol, JSON and binary, put together: bytes to rows, answers to bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedRequest
from service.inference.message import Message, TensorHead, read_message
from service.inference.options import Options
from service.inference.refusals import refuse
from service.inference.signature import INPUT, Signature
from service.inference.tensors import Rows, as_flat, read_rows

Array = NDArray[Any]
HEADER: Final = "Inference-Header-Content-Length"
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed request.

    Attributes:
        id: the client's own, returned as it came.
        rows: `[rows C H W]`: float32, finite, in [0, 1]; or uint8.
        outputs: names to answer, in order.
        binary_outputs: those of them that are sent in binary.
        options: how it wants to be answered.
    """

    id: str | None
    rows: Rows
    outputs: tuple[str, ...]
    binary_outputs: frozenset[str]
    options: Options


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """A response body, with the length of its JSON part where a binary part follows."""

    body: bytes
    json_length: int | None

    @property
    def media_type(self) -> str:
        """Content type of the body."""
        return JSON if self.json_length is None else BINARY


def parse_infer(body: bytes, signature: Signature, *, max_rows: int, json_length: int | None = None) -> InferRequest:
    """Return the request in `body`, checked against what the model takes.

    Args:
        body: JSON text, in the binary form followed by tensors.
        signature: inputs and outputs of the addressed view.
        max_rows: rows one request may hold.
        json_length: bytes of the JSON part; None for a body that is all JSON; 0 for one that is one raw row.

    Raises:
        MalformedRequest: anything about it cannot be read or was not declared.
        TooLarge: it holds more rows than allowed.
    """
    if json_length == 0:
        return _raw_row(body, signature, max_rows)
    if json_length is not None and json_length > len(body):
        raise MalformedRequest(
            f"{HEADER}: expected at most the {len(body)} bytes of the body, got {json_length}; count the JSON part"
        )
    text = body if json_length is None else body[:json_length]
    message = read_message(text, signature)
    rest = memoryview(body)[len(text) :]
    _check_sizes(message, rest)
    if len(message.inputs) != 1:
        names = [spec.name for spec in signature.inputs]
        refuse("inputs", f"exactly one of the tensors {names}", [head.name[:80] for head in message.inputs])
    (head,) = message.inputs
    rows = read_rows(head, None if head.binary_bytes is None else rest, signature, max_rows=max_rows)
    return InferRequest(message.id, rows, message.outputs, message.binary_outputs, message.options)


def render_infer(
    model: str, version: str, request: InferRequest, results: Mapping[str, Array], signature: Signature
) -> InferAnswer:
    """Return the response, tensors row-major: binary ones behind the JSON part, the others flat in it.

    Args:
        model: name of the view.
        version: that answered.
        request: what was asked.
        results: every requested output.
        signature: of the view.
    """
    datatypes = {output.name: output.datatype for output in signature.outputs}
    blobs = []
    outputs: list[dict[str, Any]] = []
    for name in request.outputs:
        entry: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": list(results[name].shape)}
        if name in request.binary_outputs:
            blobs.append(_little_endian(results[name]))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = as_flat(results[name])
        outputs.append(entry)
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id is not None:
        response["id"] = request.id
    text = json.dumps(response, allow_nan=False, separators=(",", ":")).encode()
    return InferAnswer(b"".join([text, *blobs]), len(text) if blobs else None)


def read_json_length(header: str | None) -> int | None:
    """Return the value of `Inference-Header-Content-Length`, None without one.

    Raises:
        MalformedRequest: it is no number of bytes.
    """
    if header is None:
        return None
    if not header.isascii() or not header.isdigit() or len(header) > 18:
        raise MalformedRequest(f"{HEADER}: expected the bytes of the JSON part, got {header[:40]!r}; send it once")
    return int(header)


def _raw_row(body: bytes, signature: Signature, max_rows: int) -> InferRequest:
    """Return the request of a body without a JSON part: one row of `input`, every output in binary."""
    head = TensorHead(INPUT, "FP32", (1, *signature.image_shape), len(body), None)
    rows = read_rows(head, memoryview(body), signature, max_rows=max_rows)
    names = signature.output_names
    return InferRequest(None, rows, names, frozenset(names), Options(binary_output=True))


def _check_sizes(message: Message, rest: memoryview) -> None:
    """Refuse a binary part that its tensors do not use up."""
    announced = sum(head.binary_bytes or 0 for head in message.inputs)
    if announced != len(rest):
        raise MalformedRequest(
            f"request: expected {announced} bytes behind the JSON part, the sum of `binary_data_size`, got "
            f"{len(rest)}; correct {HEADER} or the sizes"
        )


def _little_endian(values: Array) -> bytes:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
