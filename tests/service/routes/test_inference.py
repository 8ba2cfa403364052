"""`/v2` over real HTTP: metadata, readiness, answers, and that bad input is 4xx with `{"error"}`, never 5xx.

Seen to fail: framework errors left in their own form; the body limit checked after reading; 503 for an unknown name.
"""

import http.client
import json
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from service.catalogue.repository import ModelRepository
from tests.service.inference.models import MEMBERS
from tests.service.routes.conftest import Web


def request(rows: Any, **changes: Any) -> dict[str, Any]:
    """Return an infer request for an array of rows."""
    tensor = {"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.reshape(-1).tolist()}
    return {"inputs": [tensor]} | changes


def images(count: int) -> Any:
    """Return random images, reproducible."""
    return np.random.default_rng(count).random((count, 1, 8, 8), dtype=np.float32)


def error_of(response: httpx.Response, status: int) -> str:
    """Return the error text of a response, which has that status and only that field."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert "Traceback" not in body["error"]
    assert "/work" not in body["error"]
    assert "/tmp" not in body["error"]
    return str(body["error"])


def test_health_and_server_metadata(client: httpx.Client) -> None:
    """Live, ready, started and metadata carry the protocol's keys."""
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert client.get("/v2/health/startup").json() == {"live": True, "started": True}
    for path in ("/v2", "/v2/"):
        metadata = client.get(path).json()
        assert (metadata["name"], len(metadata["extensions"])) == ("levelset", 5)


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
def test_model_metadata(client: httpx.Client, suffix: str) -> None:
    """Metadata names inputs and outputs of each view; ready agrees."""
    for view in ("digits", "digits.m1", "digits.base"):
        metadata = client.get(f"/v2/models/{view}{suffix}").json()
        assert metadata["versions"] == ["1"]
        assert metadata["inputs"] == [
            {"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]},
            {"name": "input_uint8", "datatype": "UINT8", "shape": [-1, 1, 8, 8]},
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
        ]
        names = {output["name"]: output["shape"] for output in metadata["outputs"]}
        assert names["probabilities"] == [-1, 10]
        assert ("disagreement" in names) == (view == "digits")
        assert client.get(f"/v2/models/{view}{suffix}/ready").json() == {"name": view, "ready": True}


def test_answers_equal_the_library(web: Web) -> None:
    """Every view answers what the library answers, whatever the batch and the parser's thread."""
    model = ModelRepository(web.rooms.settings.models_folder).load("digits")
    for count in (1, 3, 70):  # one row, a batch, more than one execution and parsed off the event loop
        rows = images(count)
        with torch.inference_mode():
            expected = {"digits": model(torch.from_numpy(rows)), "digits.m1": model.member(1)(torch.from_numpy(rows))}
        for view, logits in expected.items():
            answer = web.client.post(f"/v2/models/{view}/infer", json=request(rows, id="x")).json()
            assert (answer["model_name"], answer["model_version"], answer["id"]) == (view, "1", "x")
            outputs = {output["name"]: output for output in answer["outputs"]}
            assert outputs["logits"]["shape"] == [count, 10]
            np.testing.assert_allclose(outputs["logits"]["data"], logits.numpy().reshape(-1), rtol=1e-4, atol=1e-5)
    admission = web.rooms.pool.resolve("digits").served.batcher.admission
    assert (admission.rows, admission.bytes) == (0, 0)


def test_requested_outputs_are_honoured(client: httpx.Client) -> None:
    """Only what was named comes back, in that order."""
    wanted = [{"name": "member_labels"}, {"name": "entropy"}]
    answer = client.post("/v2/models/digits/versions/1/infer", json=request(images(2), outputs=wanted)).json()
    assert [(output["name"], output["shape"]) for output in answer["outputs"]] == [
        ("member_labels", [2, MEMBERS]),
        ("entropy", [2]),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"inputs": [{"name":"input","shape":[1,1,8,8],"datatype":"FP32","data":[NaN]}]}',
        b"[" * 50_000,
        json.dumps(request(np.full((1, 1, 8, 8), 1.5))).encode(),
        json.dumps(request(np.zeros((1, 1, 8, 7)))).encode(),
        json.dumps(request(np.zeros((0, 1, 8, 8)))).encode(),
        json.dumps(request(images(1), parameters={"nobody": 1})).encode(),
        json.dumps(request(images(1), outputs=[{"name": "nobody"}])).encode(),
    ],
)
def test_bad_bodies_are_400(client: httpx.Client, body: bytes) -> None:
    """A malformed body is 400 with `{"error"}`, and the server goes on."""
    error_of(client.post("/v2/models/digits/infer", content=body), 400)
    assert client.post("/v2/models/digits/infer", json=request(images(1))).status_code == 200


def test_too_much_is_413(client: httpx.Client) -> None:
    """Too many rows and too many bytes are 413, announced or not."""
    error_of(client.post("/v2/models/digits/infer", json=request(images(101))), 413)
    error_of(client.post("/v2/models/digits/infer", content=b" " * 200_001), 413)
    error_of(client.post("/v2/models/digits/infer", content=(b" " * 50_000 for _ in range(5))), 413)


def test_a_huge_announcement_is_refused_before_it_is_sent(web: Web) -> None:
    """The announced length alone decides; the connection is closed rather than left out of step."""
    connection = http.client.HTTPConnection(*web.address, timeout=10)
    connection.putrequest("POST", "/v2/models/digits/infer")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert response.headers["Connection"] == "close"
    response.read()
    connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "unknown",
        "digits.m9",
        "digits.m01",
        "index",
        "..%2f..%2fetc",
        "%252e%252e%252f",
        "digits%00",
        "a" * 300,
        "DIGITS",
        "%E2%80%AEx",
    ],
)
def test_unknown_models_are_404(client: httpx.Client, name: str) -> None:
    """Unknown names, other members and paths are 404 on every route of a model."""
    for method, suffix in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"), ("GET", "/versions/7")):
        error_of(client.request(method, f"/v2/models/{name}{suffix}"), 404)


def test_framework_errors_speak_the_protocol(client: httpx.Client) -> None:
    """Unknown paths and methods under /v2 carry `{"error"}` too."""
    error_of(client.get("/v2/nothing"), 404)
    error_of(client.delete("/v2/models/digits"), 405)
    error_of(client.get("/v2/models/digits/infer"), 405)


def test_an_encoding_that_is_not_read_is_refused(client: httpx.Client) -> None:
    """Only gzip and deflate are read; others are 415, and twice compressed is not gzip."""
    for encoding in ("br", "zstd", "gzip, gzip", "compress"):
        headers = {"Content-Encoding": encoding}
        error_of(client.post("/v2/models/digits/infer", content=b"x", headers=headers), 415)


def test_a_damaged_model_does_not_answer_and_says_why(client: httpx.Client) -> None:
    """A corrupt artifact makes its model 404 with a reason, since waiting mends nothing; the server stays ready."""
    response = client.get("/v2/models/broken/ready")
    assert "cannot be used" in error_of(response, 404)
    assert "Retry-After" not in response.headers
    error_of(client.post("/v2/models/broken/infer", json=request(images(1))), 404)
    assert client.get("/v2/health/ready").status_code == 200
    listed = {model["name"]: model["ready"] for model in client.get("/api/v1/ensembles").json()["data"]}
    assert listed == {"digits": True, "broken": False}
