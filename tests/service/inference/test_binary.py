"""Infer bodies with a binary part: values survive both ways, and sizes that do not add up are refused.

Seen to fail: the sum of the sizes not compared with the body; the product of the shape not compared with the size; a
BYTES length beyond the end sliced short; big-endian output.
"""

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from service.errors import MalformedRequest, ServiceError, TooLarge
from service.inference.codec import parse_infer, read_json_length, render_infer
from service.inference.datatypes import joined_bytes
from service.inference.signature import signature_of
from service.inference.views import View

SIGNATURE = signature_of(View("digits"), input_shape=(1, 2, 3), num_classes=4, members=2)
MAX_ROWS = 5
SHAPE = [1, 1, 2, 3]
BLOB = np.linspace(0, 1, 6, dtype="<f4").tobytes()


def head(**changes: Any) -> dict[str, Any]:
    """Return a binary input as the JSON part names it."""
    return {
        "name": "input",
        "shape": SHAPE,
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(BLOB)},
    } | changes


def parse(inputs: list[Any], blob: bytes, length: int | None = None, **changes: Any) -> Any:
    """Return the parsed request with a binary part."""
    text = json.dumps({"inputs": inputs} | changes).encode()
    return parse_infer(text + blob, SIGNATURE, max_rows=MAX_ROWS, json_length=len(text) if length is None else length)


@given(rows=arrays("<f4", (2, 1, 2, 3), elements=st.floats(0, 1, width=32)), identity=st.text(max_size=7))
def test_values_survive_bit_for_bit(rows: Any, identity: str) -> None:
    """The rows are the client's own, wherever the JSON part ends."""
    blob = rows.tobytes()
    tensor = head(shape=[2, 1, 2, 3], parameters={"binary_data_size": len(blob)})
    parsed = parse([tensor], blob, id=identity)
    assert parsed.rows.tobytes() == blob
    assert (parsed.id, parsed.binary_outputs) == (identity, frozenset())


@pytest.mark.parametrize(
    ("outputs", "parameters", "expected"),
    [
        (None, {}, set()),
        (None, {"binary_data_output": True}, set(SIGNATURE.output_names)),
        ([{"name": "labels"}, {"name": "logits"}], {"binary_data_output": True}, {"labels", "logits"}),
        (
            [{"name": "labels", "parameters": {"binary_data": False}}, {"name": "logits"}],
            {"binary_data_output": True},
            {"logits"},
        ),
        ([{"name": "labels", "parameters": {"binary_data": True}}, {"name": "logits"}], {}, {"labels"}),
    ],
)
def test_the_form_of_each_output(outputs: Any, parameters: dict[str, Any], expected: set[str]) -> None:
    """An output's own wish wins over the request's."""
    assert parse([head()], BLOB, outputs=outputs, parameters=parameters).binary_outputs == expected


def test_answers_carry_blobs_in_order() -> None:
    """Binary outputs follow the JSON part in the order of the outputs, little-endian; the others stay in it."""
    wished = [{"name": "labels"}, {"name": "entropy", "parameters": {"binary_data": False}}, {"name": "logits"}]
    request = parse([head()], BLOB, outputs=wished, parameters={"binary_data_output": True})
    results = {
        "labels": np.array([3], dtype=np.int64),
        "entropy": np.array([0.5], dtype=np.float32),
        "logits": np.arange(4, dtype=np.float32).reshape(1, 4),
    }
    answer = render_infer("digits", "1", request, results, SIGNATURE)
    assert answer.media_type == "application/octet-stream"
    listed = json.loads(answer.body[: answer.json_length])["outputs"]
    assert [output.get("parameters") for output in listed] == [{"binary_data_size": 8}, None, {"binary_data_size": 16}]
    assert listed[1]["data"] == [0.5]
    assert answer.body[answer.json_length :] == struct.pack("<q4f", 3, 0, 1, 2, 3)


def test_a_body_of_one_raw_row() -> None:
    """With a JSON part of 0 bytes the body is one row, and every output is sent in binary."""
    parsed = parse_infer(BLOB, SIGNATURE, max_rows=MAX_ROWS, json_length=0)
    assert parsed.rows.shape == (1, 1, 2, 3)
    assert parsed.binary_outputs == set(SIGNATURE.output_names)
    for wrong in (BLOB[:-1], BLOB + b"\0", b""):
        with pytest.raises(MalformedRequest, match="binary_data_size"):
            parse_infer(wrong, SIGNATURE, max_rows=MAX_ROWS, json_length=0)


def png(width: int = 3, height: int = 2, mode: str = "L") -> bytes:
    """Return an encoded image."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def image(blob: bytes, count: int = 1) -> tuple[list[Any], bytes]:
    """Return the JSON part and the blob of an image tensor."""
    size = {"binary_data_size": len(blob)}
    return [{"name": "image", "shape": [count], "datatype": "BYTES", "parameters": size}], blob


REFUSED: dict[str, tuple[list[Any], bytes]] = {
    "a byte too few": ([head()], BLOB[:-1]),
    "a byte too many": ([head()], BLOB + b"\0"),
    "size of another shape": ([head(shape=[2, 1, 2, 3])], BLOB),
    "negative size": ([head(parameters={"binary_data_size": -24})], BLOB),
    "fractional size": ([head(parameters={"binary_data_size": 24.0})], BLOB),
    "size of another kind": ([head(parameters={"binary_data_size": True})], BLOB),
    "unknown parameter of an input": ([head(parameters={"binary_data_size": 24, "shared_memory_region": "x"})], BLOB),
    "NaN": ([head()], np.array([0, 0, 0, 0, 0, np.nan], dtype="<f4").tobytes()),
    "infinity": ([head()], np.array([0, 0, 0, 0, 0, np.inf], dtype="<f4").tobytes()),
    "above one": ([head()], np.array([0, 0, 0, 0, 0, 1.001], dtype="<f4").tobytes()),
    "below zero": ([head()], np.array([-0.001, 0, 0, 0, 0, 1], dtype="<f4").tobytes()),
    "half precision": ([head(datatype="FP16", parameters={"binary_data_size": 12})], BLOB[:12]),
    "brain floats": ([head(datatype="BF16", parameters={"binary_data_size": 12})], BLOB[:12]),
    "other bytes": ([head(datatype="FP64", parameters={"binary_data_size": 48})], BLOB * 2),
    "two alternatives": (
        [head(), head(name="input_uint8", datatype="UINT8", parameters={"binary_data_size": 6})],
        BLOB + b"\0" * 6,
    ),
    "an unknown input beside": ([head(), head(name="other", parameters={"binary_data_size": 0})], BLOB),
    "no input": ([], b""),
    "rows without end": ([head(shape=[2**62, 1, 2, 3])], BLOB),
    "an image cut short": image(joined_bytes([png()[:40]])),
    "a length beyond the end": image(b"\xff\xff\xff\xff" + png()),
    "a length cut short": image(b"\x01\x00"),
    "more images than announced": image(joined_bytes([png(), png()])),
    "fewer images than announced": image(joined_bytes([png()]), 2),
    "an image of another size": image(joined_bytes([png(2, 3)])),
    "a colour image for a grey model": image(joined_bytes([png(mode="RGB")])),
    "an image that is text": image(joined_bytes([b"hello"])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_add_up_is_refused(case: str) -> None:
    """One MalformedRequest (TooLarge for rows) that says what was expected."""
    inputs, blob = REFUSED[case]
    with pytest.raises((MalformedRequest, TooLarge), match="expected") as caught:
        parse(inputs, blob)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("length", ["-1", "abc", "", "1e3", "９", "9" * 30, "+5", " 5"])
def test_lengths_that_are_none(length: str) -> None:
    """Only digits are a length."""
    with pytest.raises(MalformedRequest):
        read_json_length(length)


def test_a_length_beyond_the_body() -> None:
    """The JSON part cannot be longer than the body, and what it cuts off is no JSON."""
    for length in (10**6, 3):
        with pytest.raises(MalformedRequest):
            parse([head()], BLOB, length)


@given(body=st.binary(max_size=300), length=st.none() | st.integers(0, 320))
def test_any_bytes_are_an_answer_or_a_refusal(body: bytes, length: int | None) -> None:
    """Nothing that arrives raises anything but the service's own errors."""
    try:
        parse_infer(body, SIGNATURE, max_rows=MAX_ROWS, json_length=length)
    except ServiceError:
        return
    assert length == 0


@given(data=st.data())
def test_a_damaged_body_is_an_answer_or_a_refusal(data: st.DataObject) -> None:
    """A valid body with bytes changed, dropped or doubled is parsed or refused, and what is parsed is in range."""
    text = json.dumps({"inputs": [head()], "parameters": {"binary_data_output": True}}).encode()
    body = bytearray(text + BLOB)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        parsed = parse_infer(bytes(body), SIGNATURE, max_rows=MAX_ROWS, json_length=len(text))
    except ServiceError:
        return
    assert ((parsed.rows >= 0) & (parsed.rows <= (1 if parsed.rows.dtype == np.float32 else 255))).all()
