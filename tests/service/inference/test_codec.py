"""Infer bodies in JSON: what is refused, and that what is accepted keeps its values and order.

Seen to fail: data taken column-major; the range check dropped; bool accepted as a dimension; the row limit off by one.
"""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.errors import MalformedRequest, TooLarge
from service.inference.codec import parse_infer, render_infer
from service.inference.options import Options
from service.inference.signature import signature_of
from service.inference.views import View

SIGNATURE = signature_of(View("digits"), input_shape=(1, 2, 3), num_classes=4, members=2)
MAX_ROWS = 5


def tensor(**changes: Any) -> dict[str, Any]:
    """Return a valid input tensor with some fields changed."""
    return {
        "name": "input",
        "shape": [1, 1, 2, 3],
        "datatype": "FP32",
        "data": [0.0, 0.1, 0.2, 0.3, 0.4, 1.0],
    } | changes


def binary(size: Any) -> dict[str, Any]:
    """Return an input whose values lie in the binary part."""
    return {"name": "input", "shape": [1, 1, 2, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}


def body(**changes: Any) -> bytes:
    """Return a valid body with some fields changed."""
    return json.dumps({"inputs": [tensor()]} | changes).encode()


def parse(text: bytes) -> Any:
    """Return the parsed request."""
    return parse_infer(text, SIGNATURE, max_rows=MAX_ROWS)


@given(rows=arrays(np.float32, (3, 1, 2, 3), elements=st.floats(0, 1, width=32)), nested=st.booleans())
def test_values_and_order_survive(rows: Any, nested: bool) -> None:
    """Nested and flat data give the same rows, bit for bit."""
    data = rows.tolist() if nested else rows.reshape(-1).tolist()
    parsed = parse(body(inputs=[tensor(shape=[3, 1, 2, 3], data=data)]))
    np.testing.assert_array_equal(parsed.rows, rows)
    assert parsed.rows.dtype == np.float32


def test_all_outputs_are_answered_when_none_is_named() -> None:
    """A request without outputs gets every declared one; a named list keeps its order."""
    assert parse(body()).outputs == SIGNATURE.output_names
    assert parse(body(outputs=[{"name": "labels"}, {"name": "logits"}])).outputs == ("labels", "logits")


def test_answers_are_flat_and_carry_the_id() -> None:
    """Each output is written with its shape, datatype and flat row-major data."""
    request = parse(body(id="a", outputs=[{"name": "probabilities"}]))
    values = np.arange(4, dtype=np.float32).reshape(1, 4)
    rendered = render_infer("digits", "1", request, {"probabilities": values}, SIGNATURE)
    assert (rendered.json_length, rendered.media_type) == (None, "application/json")
    answer = json.loads(rendered.body)
    assert answer == {
        "model_name": "digits",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 4], "data": [0.0, 1.0, 2.0, 3.0]}],
    }


NESTED = [[[[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]]]

REFUSED: dict[str, bytes] = {
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "empty": b"",
    "NaN literal": body().replace(b"1.0]", b"NaN]"),
    "Infinity literal": body().replace(b"1.0]", b"-Infinity]"),
    "1e999": body().replace(b"1.0]", b"1e999]"),
    "10^400 as a whole number": body().replace(b"1.0]", b"1" + b"0" * 400 + b"]"),
    "10^5000 as a whole number": body().replace(b"1.0]", b"1" + b"0" * 5000 + b"]"),
    "beyond float32": body().replace(b"1.0]", b"1e300]"),
    "above one": body(inputs=[tensor(data=[0, 0, 0, 0, 0, 1.001])]),
    "below zero": body(inputs=[tensor(data=[0, 0, 0, 0, 0, -0.001])]),
    "deep nesting": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep data": body(inputs=[tensor(data=json.loads("[" * 90 + "]" * 90))]),
    "ragged": body(inputs=[tensor(data=[[[[0.0, 0.1], [0.3, 0.4, 0.5, 0.6]]]])]),
    "rows missing": body(inputs=[tensor(shape=[2, 1, 2, 3], data=NESTED)]),
    "mixed nesting": body(inputs=[tensor(data=[[[0.1, 0.2, 0.3], 0.4, 0.5, 0.6]])]),
    "text": body(inputs=[tensor(data=["0"] * 6)]),
    "bool": body(inputs=[tensor(data=[True] * 6)]),
    "null": body(inputs=[tensor(data=[None] * 6)]),
    "a number": body(inputs=[tensor(data=1)]),
    "too few": body(inputs=[tensor(data=[0.0] * 5)]),
    "too many": body(inputs=[tensor(data=[0.0] * 7)]),
    "no data": json.dumps({"inputs": [{"name": "input", "shape": [1, 1, 2, 3], "datatype": "FP32"}]}).encode(),
    "shape overflow": body(inputs=[tensor(shape=[2**62, 2**62, 2**62, 2**62])]),
    "negative dimension": body(inputs=[tensor(shape=[-1, 1, 2, 3])]),
    "fractional dimension": body(inputs=[tensor(shape=[1.0, 1, 2, 3])]),
    "bool dimension": body(inputs=[tensor(shape=[True, 1, 2, 3])]),
    "rank 40": body(inputs=[tensor(shape=[1] * 40)]),
    "shape of text": body(inputs=[tensor(shape="1123")]),
    "other height": body(inputs=[tensor(shape=[1, 1, 3, 2])]),
    "no rows": body(inputs=[tensor(shape=[0, 1, 2, 3], data=[])]),
    "undeclared datatype": body(inputs=[tensor(datatype="FP64")]),
    "half in JSON": body(inputs=[tensor(datatype="FP16")]),
    "no datatype": body(inputs=[tensor(datatype="float")]),
    "no inputs": json.dumps({}).encode(),
    "no input": body(inputs=[]),
    "input twice": body(inputs=[tensor(), tensor()]),
    "unknown input": body(inputs=[tensor(name="other")]),
    "input beside another": body(inputs=[tensor(), tensor(name="other")]),
    "nameless input": body(inputs=[tensor(name=3)]),
    "unknown field": body(extra=1),
    "unknown field of an input": body(inputs=[tensor(extra=1)]),
    "unknown output": body(outputs=[{"name": "secret"}]),
    "output twice": body(outputs=[{"name": "labels"}, {"name": "labels"}]),
    "output of another kind": body(outputs=["labels"]),
    "binary output as text": body(outputs=[{"name": "labels", "parameters": {"binary_data": "yes"}}]),
    "binary outputs as a number": body(parameters={"binary_data_output": 1}),
    "unknown parameter": body(parameters={"nobody": "0"}),
    "unknown parameter of an output": body(outputs=[{"name": "labels", "parameters": {"classification": 3}}]),
    "reserved parameter": body(parameters={"sequence_id": 1}),
    "reserved prefix": body(parameters={"triton_final": True}),
    "members as a number": body(parameters={"members": 0}),
    "a member beyond the last": body(parameters={"members": "0,2"}),
    "a member twice": body(parameters={"members": "1,1"}),
    "members with spaces": body(parameters={"members": "0, 1"}),
    "no members": body(parameters={"members": ""}),
    "unknown mode": body(parameters={"mode": "mean"}),
    "mode of the operator": body(parameters={"mode": "random_member"}),
    "negative timeout": body(parameters={"timeout": -1}),
    "no time": body(parameters={"timeout": 0}),
    "fractional timeout": body(parameters={"timeout": 1.5}),
    "priority beyond the last": body(parameters={"priority": 4}),
    "priority of another kind": body(parameters={"priority": True}),
    "binary size without a binary part": body(inputs=[binary(24)]),
    "data and binary size": body(inputs=[tensor(parameters={"binary_data_size": 24})]),
    "images in JSON": body(inputs=[{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["x"]}]),
    "above 255": body(inputs=[tensor(name="input_uint8", datatype="UINT8", data=[0, 0, 0, 0, 0, 256])]),
    "fraction as UINT8": body(inputs=[tensor(name="input_uint8", datatype="UINT8", data=[0, 0, 0, 0, 0, 0.5])]),
    "parameters of another kind": body(parameters=[1]),
    "id of another kind": body(id=7),
}


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_bodies_are_refused(case: str) -> None:
    """Every malformed body is one MalformedRequest that says what was expected and stays short."""
    with pytest.raises(MalformedRequest, match="expected") as caught:
        parse(REFUSED[case])
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("rows", [MAX_ROWS, MAX_ROWS + 1])
def test_the_row_limit_is_exact(rows: int) -> None:
    """The limit itself is accepted, one row more is too large."""
    text = body(inputs=[tensor(shape=[rows, 1, 2, 3], data=[0.5] * 6 * rows)])
    if rows <= MAX_ROWS:
        assert len(parse(text).rows) == rows
    else:
        with pytest.raises(TooLarge, match="split it"):
            parse(text)


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        (None, Options()),
        ({"members": "1"}, Options(members=(1,))),
        ({"members": "1,0"}, Options(members=None)),
        ({"mode": "vote", "priority": 0}, Options(mode="vote", priority=0)),
        ({"timeout": 1_500_000}, Options(timeout=1.5)),
        ({"timeout": 10**400}, Options(timeout=1e6)),
        ({"binary_data_output": True}, Options(binary_output=True)),
    ],
)
def test_parameters_are_read(parameters: Any, options: Options) -> None:
    """Members are put in order, all of them is none in particular, microseconds become seconds."""
    assert parse(body(parameters=parameters)).options == options


def test_a_single_network_and_a_fixed_mode_leave_no_choice() -> None:
    """Members and mode are refused where there are none to choose, with the reason."""
    for signature, words in (
        (signature_of(View("d", "base"), input_shape=(1, 2, 3), num_classes=4, members=2), "single network"),
        (
            signature_of(View("d"), input_shape=(1, 2, 3), num_classes=4, members=2, fixed_mode="random_member"),
            "random_member",
        ),
    ):
        for parameters in ({"members": "0"}, {"mode": "vote"}):
            with pytest.raises(MalformedRequest, match=words):
                parse_infer(body(parameters=parameters), signature, max_rows=MAX_ROWS)


def test_uint8_stays_uint8() -> None:
    """Bytes wait as bytes: a quarter of the queue's memory."""
    parsed = parse(body(inputs=[tensor(name="input_uint8", datatype="UINT8", data=[0, 1, 2, 3, 4, 255])]))
    assert parsed.rows.dtype == np.uint8
    assert parsed.rows.reshape(-1).tolist() == [0, 1, 2, 3, 4, 255]
