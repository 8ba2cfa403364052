"""Hostile clients over raw sockets, against the server as `levelset serve` configures it.

After each: a 4xx or a closed connection, never a 5xx; the queue holds neither rows nor bytes, and a good request is
answered.

Seen to fail when: a body has no time limit, a head none either; a bomb is decompressed without a limit; the depth of
JSON is not looked at.
"""

import asyncio
import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn

from service.inference.admission import Admission
from service.routes.rooms import Rooms
from service.security.connections import PunctualConnection
from service.server import web_config
from service.settings import Settings
from tests.service.inference.models import copy_models
from tests.service.sockets import read_until_closed

BODY_SECONDS = 1.0
HEAD_SECONDS = 1.0
KEPT = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\n"
INFER = KEPT + b"Connection: close\r\n"
TENSOR = {"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
GOOD = json.dumps({"inputs": [TENSOR]}).encode()
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True, slots=True)
class Live:
    """A running server."""

    address: tuple[str, int]
    rooms: Rooms

    @property
    def admission(self) -> Admission:
        """What is held for the ensemble."""
        return self.rooms.pool.resolve("digits").served.batcher.admission

    def until(self, held: bool) -> None:
        """Wait until something is held, or nothing is."""
        deadline = time.monotonic() + 10
        while bool(self.admission.rows or self.admission.bytes) is not held:
            assert time.monotonic() < deadline, (self.admission.rows, self.admission.bytes)
            time.sleep(0.01)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.address, timeout=20)

    def say(self, text: bytes) -> list[int]:
        """Return the statuses of what is answered to these bytes until the server closes."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(text)
            return statuses(read_until_closed(connection))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Yield a server that has less patience than usual."""
    data = tmp_path_factory.mktemp("hostile")
    copy_models(tmp_path_factory, data)
    config = web_config(Settings(data=data, body_timeout=BODY_SECONDS))
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all it accepts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PunctualConnection, "head_seconds", HEAD_SECONDS)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started or getattr(config.app.state, "rooms", None) is None:  # type: ignore[union-attr]
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        live = Live(listener.getsockname(), config.app.state.rooms)  # type: ignore[union-attr]
        while not live.rooms.pool.loaded():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield live
        server.should_exit = True
        thread.join(20)
    listener.close()


@pytest.fixture(autouse=True)
def stays_well(live: Live) -> Iterator[None]:
    """See that the queue is empty after each test and that a good request is answered."""
    yield
    live.until(held=False)
    assert live.say(whole(GOOD)) == [200]
    live.until(held=False)


def whole(body: bytes, extra: bytes = b"") -> bytes:
    """Return a request with the right length."""
    return INFER + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def statuses(received: bytes) -> list[int]:
    """Return the statuses of the answers in what was received; none is 5xx."""
    found = [int(code) for code in STATUS.findall(received)]
    assert all(code < 500 for code in found), received
    return found


def drip(connection: socket.socket, text: bytes) -> None:
    """Send byte by byte until the server closes, three seconds at most."""
    deadline = time.monotonic() + 3
    try:
        for position in range(len(text)):
            if time.monotonic() > deadline:
                return
            connection.sendall(text[position : position + 1])
            time.sleep(0.05)
    except ConnectionError:
        pass


def test_a_slow_head(live: Live) -> None:
    """A head that comes byte by byte is not waited for."""
    began = time.monotonic()
    with live.connect() as connection:
        drip(connection, INFER + b"X: " + b"x" * 1000)
        assert statuses(read_until_closed(connection)) == []
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/api/v1/jobs", "/v2/repository/index", "/login"])
def test_a_slow_body(live: Live, path: str) -> None:
    """A body that comes byte by byte, or stays away, is refused in time and what it reserved is freed."""
    media = "x-www-form-urlencoded" if path == "/login" else "json"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/{media}\r\nContent-Length: 8000\r\n\r\n"
    )
    began = time.monotonic()
    with live.connect() as connection:
        connection.sendall(head.encode())
        if path.endswith("infer"):
            live.until(held=True)
            assert live.admission.bytes == 8000
        sender = threading.Thread(target=drip, args=(connection, b" " * 8000))
        sender.start()
        assert statuses(read_until_closed(connection)) == [400]
        sender.join()
    assert time.monotonic() - began < 10


def test_a_slow_upload(live: Live) -> None:
    """A network that comes byte by byte is refused, and no draft of it stays."""
    digest = b"sha-256=:" + b"A" * 43 + b"=:"
    with live.connect() as connection:
        connection.sendall(
            b"PUT /api/v1/models/slow?arch=torchvision/resnet18 HTTP/1.1\r\nHost: localhost\r\nRepr-Digest: "
            + digest
            + b"\r\nContent-Length: 8000\r\n\r\n"
        )
        sender = threading.Thread(target=drip, args=(connection, b" " * 8000))
        sender.start()
        assert statuses(read_until_closed(connection)) == [400]
        sender.join()
    assert not list(live.rooms.settings.data.rglob("weights.safetensors"))


def test_very_many_tiny_chunks(live: Live) -> None:
    """20,000 chunks of one byte are one body; a body of nothing but them is malformed."""
    body = GOOD + b" " * (20_000 - len(GOOD))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert live.say(INFER + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n") == [200]
    chunks = b"1\r\n[\r\n" * 20_000
    assert live.say(INFER + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n") == [400]


def test_a_head_of_a_megabyte(live: Live) -> None:
    """Neither one long field nor very many short ones are read to their end."""
    for text in (b"X: " + b"x" * 1_000_000, b"X: x\r\n" * 170_000):
        assert live.say(whole(GOOD, text + b"\r\n")) in ([], [400], [431])


def test_a_client_that_leaves(live: Live) -> None:
    """Leaving in the middle of the body, and while the answer is made, frees rows and bytes; fifty times each."""
    for _ in range(50):
        with live.connect() as connection:
            connection.sendall(INFER + b"Content-Length: 100000\r\n\r\n" + b"x" * 500)
    rows = json.dumps({"inputs": [TENSOR | {"shape": [64, 1, 8, 8], "data": [0.5] * 4096}]}).encode()
    for _ in range(50):
        with live.connect() as connection:
            connection.sendall(whole(rows))
    live.until(held=False)


@pytest.mark.parametrize(("length", "expected"), [(-20, [[400, 400], [400]]), (20, [[], [400]])])
def test_a_length_that_is_not_the_bodys(live: Live, length: int, expected: list[list[int]]) -> None:
    """Too small: what is left is no request. Too large: the rest never comes."""
    assert live.say(INFER + b"Content-Length: %d\r\n\r\n" % (len(GOOD) + length) + GOOD) in expected


def test_a_gzip_bomb(live: Live) -> None:
    """128 MiB in 128 KiB are given up at the limit of 64 MiB."""
    bomb = gzip.compress(bytes(128 << 20), 9)
    assert live.say(whole(bomb, b"Content-Encoding: gzip\r\n")) == [413]


def test_pipelined_requests(live: Live) -> None:
    """Requests sent without waiting are answered each, in their order."""
    pair = b"".join(KEPT + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in (GOOD, b"{}"))
    with live.connect() as connection:
        connection.sendall(pair * 9 + whole(GOOD))
        assert statuses(read_until_closed(connection)) == [200, 400] * 9 + [200]


@pytest.mark.parametrize("path", [b"/v2/models/digits/infer", b"/api/v1/jobs", b"/api/v1/ensembles", b"/api/v1/keys"])
def test_json_nested_ten_thousand_deep(live: Live, path: bytes) -> None:
    """Arrays and objects in one another are refused before they are parsed."""
    for body in (b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 2_500 + b"1" + b"}" * 2_500):
        answer = live.say(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % (path, len(body))
            + body
        )
        assert answer in ([400], [413])


def test_a_hundred_thousand_inputs(live: Live) -> None:
    """Inputs without end are one malformed request."""
    assert live.say(whole(json.dumps({"inputs": [{"name": "input"}] * 100_000}).encode())) == [400]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: %d\r\n",
        b"Content-Length: %d, 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n",
        b"Transfer-Encoding: gzip, chunked\r\nContent-Length: %d\r\n",
        b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n",
        b"Content-Length: +%d\r\n",
        b"Content-Length: -%d\r\n",
    ],
)
def test_lengths_that_contradict_each_other(live: Live, framing: bytes) -> None:
    """What two servers could frame in two ways is refused, and nothing after it is taken for a request."""
    assert live.say(INFER + framing % len(GOOD) + b"\r\n" + GOOD + whole(GOOD)) in ([], [400], [501])


def test_length_and_chunks_together(live: Live) -> None:
    """The chunks alone count, and what the length would leave over is never answered as a second request."""
    smuggled = whole(GOOD)
    text = INFER + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(smuggled)) + smuggled
    assert live.say(text) in ([], [400])


@pytest.mark.parametrize(
    "field", [b"X: a\x00b", b"X: a\rb", b"X: a\nb: c\r", b"X\x00: a", b"X-Request-ID: a\r\n evil: 1"]
)
def test_control_characters_in_fields(live: Live, field: bytes) -> None:
    """NUL and bare line ends are refused, or end the field; none of it comes back in the answer."""
    with live.connect() as connection:
        connection.sendall(whole(GOOD, field + b"\r\n"))
        received = read_until_closed(connection)
    assert set(statuses(received)) <= {400, 200}
    assert b"evil" not in received
    assert b"\x00" not in received.partition(b"\r\n\r\n")[0]
