"""`/v2` over real HTTP beyond JSON: binary bodies, compression, the headers of an answer, and what stays refused.

Seen to fail when: a client that left is computed all the same; a header that came twice is read once; the document
lacks the binary form; a refusal of a small body closes the connection; a deadline is ignored; a bomb is decompressed to
its end; what a client accepts is not asked; requests are counted under no model.
"""

import gzip
import http.client
import json
import socket
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np
import pytest

from service.inference.admission import Refused
from tests.service.routes.conftest import Web
from tests.service.routes.test_inference import error_of, images, request

HEADER = "Inference-Header-Content-Length"
URL = "/v2/models/digits/infer"


def binary(rows: Any, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a binary request that asks for binary outputs."""
    blob = rows.astype("<f4").tobytes()
    tensor = {
        "name": "input",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(blob)},
    }
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}} | changes).encode()
    return text + blob, {HEADER: str(len(text))}


def arrays_of(response: httpx.Response) -> dict[str, Any]:
    """Return the outputs of a binary answer."""
    length = int(response.headers[HEADER])
    described, blob = json.loads(response.content[:length]), response.content[length:]
    found = {}
    for output in described["outputs"]:
        size = output["parameters"]["binary_data_size"]
        dtype = {"FP32": "<f4", "INT64": "<i8"}[output["datatype"]]
        found[output["name"]] = np.frombuffer(blob[:size], dtype).reshape(output["shape"])
        blob = blob[size:]
    assert not blob
    return found


def test_binary_and_json_answer_alike(client: httpx.Client) -> None:
    """The same rows give the same numbers in both forms, with the times of queue and computation beside them."""
    rows = images(7)
    body, headers = binary(rows)
    answer = client.post(URL, content=body, headers=headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Server-Timing"].startswith("queue;dur=")
    outputs = client.post(URL, json=request(rows)).json()["outputs"]
    listed = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in outputs}
    found = arrays_of(answer)
    assert found.keys() == listed.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, listed[name], rtol=1e-4, atol=1e-5)


def test_a_raw_row(client: httpx.Client) -> None:
    """A JSON part of 0 bytes: the body is one row, the answer is binary; another size is refused."""
    row = images(1)
    found = arrays_of(client.post(URL, content=row.tobytes(), headers={HEADER: "0"}))
    assert found["labels"].shape == (1,)
    error_of(client.post(URL, content=row.tobytes()[:-1], headers={HEADER: "0"}), 400)


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_compressed_bodies(client: httpx.Client, form: str) -> None:
    """The length counts decompressed bytes; a bomb is 413, a broken stream 400."""
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[form]
    body, headers = binary(images(3))
    headers["Content-Encoding"] = form
    answer = client.post(URL, content=pack(body), headers=headers)
    assert arrays_of(answer)["labels"].shape == (3,)
    error_of(client.post(URL, content=pack(bytes(5_000_000)), headers=headers), 413)
    error_of(client.post(URL, content=pack(body)[:-9], headers=headers), 400)
    error_of(client.post(URL, content=body, headers=headers), 400)


@pytest.mark.parametrize("length", ["-1", "abc", "999999", "3", ""])
def test_lengths_that_do_not_fit(client: httpx.Client, length: str) -> None:
    """A length that is none, beyond the body, or in the middle of the JSON part is 400."""
    body, _ = binary(images(1))
    error_of(client.post(URL, content=body, headers={HEADER: length}), 400)


def test_a_length_that_comes_twice(client: httpx.Client) -> None:
    """Two lengths are refused, equal or not."""
    body, headers = binary(images(1))
    twice = [(HEADER, headers[HEADER])] * 2
    assert "twice" in error_of(client.post(URL, content=body, headers=twice), 400)


def test_large_answers_are_compressed_where_that_is_accepted(client: httpx.Client) -> None:
    """JSON is, small and binary answers are not, nor is what the client cannot read."""
    many = images(90)
    assert client.post(URL, json=request(many)).headers["Content-Encoding"] == "gzip"
    plain = client.post(URL, json=request(many), headers={"Accept-Encoding": "br"})
    assert "Content-Encoding" not in plain.headers
    one = client.post(URL, json=request(images(1), outputs=[{"name": "labels"}]))
    assert "Content-Encoding" not in one.headers
    body, headers = binary(many)
    assert "Content-Encoding" not in client.post(URL, content=body, headers=headers).headers


def counted(web: Web) -> dict[str, float]:
    """Return how many inference requests ended how, over all models and views."""
    found: dict[str, float] = {}
    for sample in web.rooms.instruments.requests.samples():
        found[sample.labels["outcome"]] = found.get(sample.labels["outcome"], 0) + sample.value
    return found


def test_every_request_is_counted_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcomes add up to what was sent, and unknown names make no label of their own."""
    before = counted(web)
    body, headers = binary(images(1))
    web.client.post(URL, content=body, headers=headers)
    web.client.post(URL, content=body)  # not JSON
    web.client.post("/v2/models/someone/infer", content=body)
    web.client.post(URL, content=b" " * 200_001)
    admission = web.rooms.pool.resolve("digits").served.batcher.admission
    with monkeypatch.context() as patch:

        def refuse(*_: Any, **__: Any) -> None:
            raise Refused("bytes", "queue: expected fewer bytes, got more; send it later", retry_after=4)

        patch.setattr(admission, "reserve", refuse)
        refused = web.client.post(URL, content=body, headers=headers)
        error_of(refused, 429)
        assert refused.headers["Retry-After"] == "4"
        assert "Connection" not in refused.headers  # a small body is thrown away, and the connection lives on
    assert web.client.post(URL, content=body, headers=headers).status_code == 200
    after = counted(web)
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)} == {
        "ok": 2,
        "invalid": 3,
        "rejected": 1,
    }
    models = {sample.labels["model"] for sample in web.rooms.instruments.requests.samples()}
    assert models == {"digits", "_unknown"}


def test_a_client_that_leaves_is_dropped(web: Web) -> None:
    """Its rows leave the queue, and it counts as cancelled."""
    before = counted(web).get("cancelled", 0)
    body, headers = binary(images(100))
    for _ in range(5):
        with socket.create_connection(web.address) as connection:
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 1}\r\n{fields}\r\n"
            connection.sendall(head.encode() + body)  # one byte short: it can only be cancelled
    admission = web.rooms.pool.resolve("digits").served.batcher.admission
    deadline = time.monotonic() + 20
    while counted(web).get("cancelled", 0) < before + 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counted(web)["cancelled"] == before + 5
    assert (admission.rows, admission.bytes) == (0, 0)


def test_a_connection_stays_in_step_after_refusals(web: Web) -> None:
    """Over one connection, refused and answered requests each get their own answer."""
    body, headers = binary(images(1))
    connection, kept = http.client.HTTPConnection(*web.address, timeout=10), None
    for path, sent, status in ((URL, body, 200), ("/v2/models/no/infer", body * 50, 404), (URL, b"{", 400)) * 3:
        fields = headers if sent is body else {}
        connection.request("POST", path, sent, fields)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        kept = kept or connection.sock
        assert connection.sock is kept is not None  # http.client would open another one without a word
    connection.close()


def test_the_document_describes_both_forms(client: httpx.Client) -> None:
    """OpenAPI names the binary form, the header, and every status that inference answers."""
    described = client.get("/openapi.json").json()["paths"]["/v2/models/{model}/infer"]["post"]
    assert set(described["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
    assert {"200", "400", "404", "413", "415", "429", "500", "503", "504"} <= set(described["responses"])
    assert HEADER in {parameter["name"] for parameter in described["parameters"]}


def test_a_deadline_is_kept(web: Web) -> None:
    """A request with a microsecond of time is 504 or refused, never answered late."""
    body, headers = binary(images(90), parameters={"timeout": 1})
    response = web.client.post(URL, content=body, headers=headers)
    assert response.status_code in (429, 504)
    assert "expected an answer within 1e-06 s" in response.json()["error"]


def occupy(web: Web, seconds: float) -> Future[None]:
    """Keep the device's thread busy for a while."""
    executor = web.rooms.pool._device._executor
    return executor.submit(time.sleep, seconds)


def test_a_client_that_leaves_while_it_waits_is_not_computed(web: Web) -> None:
    """Whole requests whose clients leave before the device is free are dropped from the queue, not run."""
    address = web.rooms.pool.resolve("digits.m0")
    before, cancelled = address.statistics.executions, counted(web).get("cancelled", 0)
    body, headers = binary(images(10))
    busy = occupy(web, 1.5)
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v2/models/digits.m0/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    clients = [socket.create_connection(web.address) for _ in range(4)]
    for client in clients:
        client.sendall(head.encode() + body)
    admission = address.served.batcher.admission
    wait_until(lambda: admission.rows == 40)
    for client in clients:
        client.close()
    wait_until(lambda: admission.rows == 0 and counted(web).get("cancelled", 0) == cancelled + 4)
    busy.result()
    web.client.post("/v2/models/digits.m0/infer", content=body, headers=headers)
    assert address.statistics.executions <= before + 2  # what the dispatcher had begun, and the last request


def test_the_deadline_of_a_request_that_waits(web: Web) -> None:
    """It is 504 at its deadline although the device is still busy, and its rows leave the queue."""
    body, headers = binary(images(1), parameters={"timeout": 300_000})
    busy = occupy(web, 1.5)
    began = time.monotonic()
    first = web.client.post(URL, content=body, headers=headers)
    assert "expected an answer within 0.3 s" in error_of(first, 504)
    assert 0.3 <= time.monotonic() - began < 1.4
    assert web.rooms.pool.resolve("digits").served.batcher.admission.idle
    busy.result()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
