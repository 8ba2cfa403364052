"""Bodies of every route are bounded in bytes and in nesting, before anything is made of them.

Seen to fail: the job taken as a parameter, so that the framework reads it whatever its size; brackets inside strings
counted; the nesting left to the parser; the connection closed at once after a refusal.
"""

import http.client
import socket
import time
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from service.errors import MalformedRequest
from service.json_body import MAX_DEPTH, load_json
from service.routes import capabilities, events, health, infer, jobs, pages, reports
from tests.service.routes.conftest import Web
from tests.service.routes.test_jobs import problem_of, spec

JSON = {"Content-Type": "application/json"}


def test_no_route_leaves_its_body_to_the_framework() -> None:
    """A body that a route declares as a parameter is read whole, whatever its size: no route does."""
    rooms = (capabilities, events, health, infer, jobs, pages, reports)
    routes = [route for room in rooms for route in room.router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    assert [route.path for route in routes if route.body_field is not None] == []


def test_a_long_job_is_413(web: Web) -> None:
    """Too many bytes are refused as a problem, announced or not, and no job appears."""
    limit = web.rooms.settings.max_job_bytes
    before = web.client.get("/api/v1/jobs").json()
    padded = b'{"type": "evaluate", "pad": "' + b"x" * limit + b'"}'
    problem = problem_of(web.client.post("/api/v1/jobs", content=padded, headers=JSON), 413)
    assert str(limit) in problem["detail"]
    chunks = (padded[start : start + 20_000] for start in range(0, len(padded), 20_000))
    problem_of(web.client.post("/api/v1/jobs", content=chunks, headers=JSON), 413)
    assert web.client.get("/api/v1/jobs").json() == before


def test_a_long_job_is_refused_before_it_is_sent(web: Web) -> None:
    """The announced length alone decides, and the connection is closed rather than left out of step."""
    connection = http.client.HTTPConnection(*web.address, timeout=10)
    connection.putrequest("POST", "/api/v1/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, response.headers["Connection"]) == (413, "close")
    assert response.headers["Content-Type"].startswith("application/problem+json")
    response.read()
    connection.close()


def test_a_client_that_still_sends_reads_its_refusal(web: Web) -> None:
    """The connection is closed only after what was under way has been thrown away, so that it is not reset."""
    with socket.create_connection(web.address, timeout=10) as connection:
        connection.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n")
        for _ in range(4):
            time.sleep(0.1)
            connection.sendall(b" " * 500_000)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"}")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 30_000,
        b'{"type": "evaluate", "metadata": ' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_deep_nesting_is_malformed(client: httpx.Client, body: bytes) -> None:
    """Too many levels are 400 and say so, for jobs and for inference."""
    assert "nested levels" in problem_of(client.post("/api/v1/jobs", content=body, headers=JSON), 400)["detail"]
    response = client.post("/v2/models/digits/infer", content=body)
    assert (response.status_code, "nested levels" in response.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": "' + b"[" * 200 + b'"}', {"a": "[" * 200}),
        (b'{"a": "\\"' + b"{" * 200 + b'"}', {"a": '"' + "{" * 200}),
        (b"[" + b"[]," * 200 + b"[]]", [[]] * 201),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ],
)
def test_only_real_nesting_counts(text: bytes, value: Any) -> None:
    """Brackets in strings and side by side are no levels, and the last allowed level is allowed."""
    loaded = load_json(text)
    assert value is None or loaded == value


def test_finding_the_depth_takes_linear_time() -> None:
    """A megabyte of escaped quotes that never end is refused at once."""
    began = time.monotonic()
    with pytest.raises(MalformedRequest, match="expected JSON"):
        load_json(b"[]," * 40 + b'"' + b'\\"' * 500_000)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", [b"", b"\xff", "[1]".encode("utf-16"), b"\xef\xbb\xbf[1]", b"[1] [2]"])
def test_only_utf8_json_is_read(text: bytes) -> None:
    """Other encodings, a byte order mark and trailing text are malformed."""
    with pytest.raises(MalformedRequest, match="expected JSON"):
        load_json(text)


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_job_is_json(client: httpx.Client, media: str) -> None:
    """What a form of a foreign page can send is 415; JSON by any of its names is read."""
    problem = problem_of(client.post("/api/v1/jobs", content=b"{}", headers={"Content-Type": media}), 415)
    assert "application/json" in problem["detail"]
    for known in ("application/json; charset=utf-8", "application/vnd.x+json"):
        problem_of(client.post("/api/v1/jobs", content=b"{}", headers={"Content-Type": known}), 422)


def test_the_document_still_describes_the_job(client: httpx.Client) -> None:
    """The route's body is in the OpenAPI document, complete and without references to nowhere."""
    document = client.get("/openapi.json").json()
    body = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    jobs = {form["title"]: form["properties"] for form in body["oneOf"]}
    assert jobs.keys() == {"EvaluateJob", "GenerateJob", "FiguresJob"}
    optional = {"also", "mode", "draws", "seed", "block", "priority", "max_seconds", "metadata", "datatype"}
    assert jobs["EvaluateJob"].keys() == spec().keys() | optional
    assert jobs["EvaluateJob"]["threat"]["properties"]["epsilons"]["items"]["minimum"] == 0
    assert "$ref" not in str(body)
