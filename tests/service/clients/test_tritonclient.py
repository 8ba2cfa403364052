"""`tritonclient[http]` against a real server: its whole matrix in its three forms, sync, async_infer and aio.

Seen to fail: an empty body of the repository index refused; success with another status than 200; the JSON length of a
compressed request counted before decompression; outputs sent in binary that were asked for in JSON; 429 as 503;
executions left out of the statistics.
"""

import asyncio
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from service.catalogue.repository import ModelRepository
from service.inference.admission import Refused
from tests.service.clients.live import Live
from tests.service.inference.models import MEMBERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gevent warns of what it finds in the interpreter
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    aio = pytest.importorskip("tritonclient.http.aio", reason="needs tritonclient[http]")
    from tritonclient.utils import InferenceServerException

# An answer as the client gives it: name -> array.
Ask = Callable[..., Any]
VIEWS = ("digits", "digits.m1", "digits.base")
ROWS: Any = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)


@pytest.fixture
def client(server: Live) -> Iterator[Any]:
    """Yield a synchronous client."""
    found = http.InferenceServerClient(server.address, concurrency=4)
    yield found
    found.close()


def tensor(values: Any, name: str = "input", datatype: str = "FP32", *, binary: bool = True) -> Any:
    """Return an input of the client."""
    made = http.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def in_order(server: Live, model: str, inputs: list[Any], **changes: Any) -> Any:
    """Return the answer of the synchronous call."""
    found = http.InferenceServerClient(server.address)
    try:
        return found.infer(model, inputs, **changes)
    finally:
        found.close()


def in_greenlets(server: Live, model: str, inputs: list[Any], **changes: Any) -> Any:
    """Return the answer of the asynchronous call."""
    found = http.InferenceServerClient(server.address, concurrency=2)
    try:
        return found.async_infer(model, inputs, **changes).get_result()
    finally:
        found.close()


def in_asyncio(server: Live, model: str, inputs: list[Any], **changes: Any) -> Any:
    """Return the answer of the asyncio client."""

    async def ask() -> Any:
        async with aio.InferenceServerClient(server.address) as found:
            return await found.infer(model, inputs, **changes)

    return asyncio.run(ask())


WAYS = (in_order, in_greenlets, in_asyncio)


@pytest.fixture(scope="module")
def expected(server: Live) -> dict[str, Any]:
    """Return the logits that the library answers to `ROWS`, per view."""
    model = ModelRepository(server.rooms.settings.models_folder).load("digits")
    inputs = torch.from_numpy(ROWS)
    with torch.inference_mode():
        found = {"digits": model(inputs), "digits.m1": model.member(1)(inputs), "digits.base": model.base(inputs)}
    return {name: logits.numpy() for name, logits in found.items()}


def close(found: Any, expected: Any) -> None:
    """Compare logits up to what the shape of a batch changes."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers(server: Live, expected: dict[str, Any], ask: Ask, binary: bool, view: str) -> None:
    """Binary and JSON inputs answer what the library answers, all outputs in the declared shapes."""
    answer = ask(server, view, [tensor(ROWS, binary=binary)], request_id="7")
    close(answer.as_numpy("logits"), expected[view])
    np.testing.assert_array_equal(answer.as_numpy("labels"), expected[view].argmax(-1))
    response = answer.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (view, "1", "7")
    assert ("disagreement" in {output["name"] for output in response["outputs"]}) == (view == "digits")


@pytest.mark.parametrize("ask", WAYS)
def test_each_output_in_its_own_form(server: Live, expected: dict[str, Any], ask: Ask) -> None:
    """Binary and JSON outputs mix in one answer, in the order asked for."""
    outputs = [
        http.InferRequestedOutput("labels", binary_data=False),
        http.InferRequestedOutput("member_probabilities", binary_data=True),
        http.InferRequestedOutput("entropy", binary_data=False),
        http.InferRequestedOutput("logits", binary_data=True),
    ]
    answer = ask(server, "digits", [tensor(ROWS)], outputs=outputs)
    close(answer.as_numpy("logits"), expected["digits"])
    assert answer.as_numpy("member_probabilities").shape == (3, MEMBERS, 10)
    listed = answer.get_response()["outputs"]
    assert [(output["name"], "data" in output) for output in listed] == [
        ("labels", True),
        ("member_probabilities", False),
        ("entropy", True),
        ("logits", False),
    ]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("request_form", ["gzip", "deflate"])
@pytest.mark.parametrize("response_form", ["gzip", "deflate", None])
def test_compression(
    server: Live, expected: dict[str, Any], ask: Ask, request_form: str, response_form: str | None
) -> None:
    """Compressed requests are read, and compressed answers come where they are accepted."""
    outputs = [http.InferRequestedOutput("logits", binary_data=False)]
    many = np.tile(ROWS, (20, 1, 1, 1))  # an answer worth compressing
    forms = {"request_compression_algorithm": request_form, "response_compression_algorithm": response_form}
    answer = ask(server, "digits", [tensor(many)], outputs=outputs, **forms)
    close(answer.as_numpy("logits"), np.tile(expected["digits"], (20, 1)))


@pytest.mark.parametrize("ask", WAYS)
def test_parameters(server: Live, ask: Ask) -> None:
    """Members, mode, priority and timeout reach the server."""
    chosen = ask(server, "digits", [tensor(ROWS)], parameters={"members": "1", "mode": "vote"}, priority=2)
    alone = ask(server, "digits.m1", [tensor(ROWS)], timeout=20_000_000)
    np.testing.assert_array_equal(chosen.as_numpy("labels"), alone.as_numpy("labels"))
    np.testing.assert_array_equal(chosen.as_numpy("probabilities").max(-1), np.ones(3))
    assert chosen.as_numpy("member_labels").shape == (3, 1)


@pytest.mark.parametrize("ask", WAYS)
def test_refusals_surface(server: Live, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own exception carries the status and the text: malformed, unknown, too large, overloaded."""
    wrong = http.InferInput("input", [1, 1, 8, 8], "FP32")
    wrong.set_data_from_numpy(np.full((1, 1, 8, 8), np.nan, dtype=np.float32))
    for model, inputs, status in (
        ("digits", [wrong], "400"),
        ("nobody", [tensor(ROWS)], "404"),
        ("broken", [tensor(ROWS)], "404"),
        ("digits", [tensor(np.tile(ROWS, (34, 1, 1, 1)))], "413"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            ask(server, model, inputs)
        assert status in str(caught.value.status())
        assert "expected" in caught.value.message()

    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("rows", "queue: expected at most 1 rows to wait, got 2; predicted wait 3.00 s", retry_after=3)

    admission = server.rooms.pool.resolve("digits").served.batcher.admission
    monkeypatch.setattr(admission, "check", refuse)
    with pytest.raises(InferenceServerException) as caught:
        ask(server, "digits", [tensor(ROWS)])
    assert "429" in str(caught.value.status())
    assert "predicted wait" in caught.value.message()


def test_bytes_and_tensors_of_uint8(server: Live, client: Any) -> None:
    """UINT8 tensors and encoded images of the same pixels answer alike."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    encoded = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image[0]).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    from_tensor = client.infer("digits", [tensor(pixels, "input_uint8", "UINT8")]).as_numpy("logits")
    from_json = client.infer("digits", [tensor(pixels, "input_uint8", "UINT8", binary=False)]).as_numpy("logits")
    images = np.array(encoded, dtype=np.object_)
    from_images = client.infer("digits", [tensor(images, "image", "BYTES")]).as_numpy("logits")
    close(from_json, from_tensor)
    close(from_images, from_tensor)


def test_health_and_descriptions(client: Any) -> None:
    """Live, ready, metadata and configuration, of the server and of every view."""
    assert client.is_server_live()
    assert client.is_server_ready()
    extensions = client.get_server_metadata()["extensions"]
    assert extensions == ["binary_tensor_data", "model_repository", "statistics", "parameters", "model_configuration"]
    assert not client.is_model_ready("nobody")
    for view in VIEWS:
        assert client.is_model_ready(view)
        assert client.is_model_ready(view, "1")
        metadata, config = client.get_model_metadata(view), client.get_model_config(view, "1")
        assert [spec["name"] for spec in metadata["inputs"]] == [spec["name"] for spec in config["input"]]
        assert config["input"][0] == {"name": "input", "data_type": "TYPE_FP32", "dims": [1, 8, 8], "optional": True}
        assert config["max_batch_size"] == 100
        assert [spec["name"] for spec in metadata["outputs"]] == [spec["name"] for spec in config["output"]]


def test_statistics(client: Any) -> None:
    """Counters of a view grow by exactly what it was asked; the list of all has every view once."""
    (before,) = client.get_inference_statistics("digits.m0", "1")["model_stats"]
    client.infer("digits.m0", [tensor(ROWS)])
    client.infer("digits.m0", [tensor(ROWS)])
    (after,) = client.get_inference_statistics("digits.m0")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 2
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 2
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert {batch["batch_size"] for batch in after["batch_stats"]} == {3}
    everything = client.get_inference_statistics()["model_stats"]
    names = [entry["name"] for entry in everything]
    assert len(names) == len(set(names))
    assert {"digits", "digits.base", "digits.m0", "digits.m1"} <= set(names)


def test_repository(client: Any) -> None:
    """The index lists states; unloading and loading change them; files are refused."""
    states = {row["name"]: row["state"] for row in client.get_model_repository_index()}
    assert states == {"broken": "UNAVAILABLE", "digits": "READY", "spare": "READY"}
    client.unload_model("spare")
    assert not client.is_model_ready("spare")
    assert {row["name"]: row["reason"] for row in client.get_model_repository_index()}["spare"] == "unloaded"
    client.load_model("spare")
    assert client.is_model_ready("spare")
    for files, status in (({"files": {"file:1/x": b"x"}, "config": "{}"}, "403"), ({"config": "{}"}, "400")):
        with pytest.raises(InferenceServerException) as caught:
            client.load_model("spare", **files)
        assert status in str(caught.value.status())


def test_many_at_once(server: Live, client: Any, expected: dict[str, Any]) -> None:
    """Requests of several kinds in flight together get their own answers."""
    handles = [
        (view, client.async_infer(view, [tensor(ROWS[start : start + 1])]), start)
        for view in VIEWS * 3
        for start in range(3)
    ]
    for view, handle, start in handles:
        close(handle.get_result().as_numpy("logits"), expected[view][start : start + 1])
