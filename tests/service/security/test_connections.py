"""Slow clients, over a real socket: OWASP API4 (2023), unrestricted resource consumption.

Seen to fail when: a connection that says nothing has no deadline; the head's deadline goes on while the answer is made.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.security.connections import PunctualConnection
from tests.service.sockets import read_until_closed

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECONDS = 0.4


class Hasty(PunctualConnection):
    """The same with less patience."""

    head_seconds = SECONDS


async def slow(request: Request) -> Response:
    """Answer later than a head may take."""
    await asyncio.sleep(2 * SECONDS)
    return PlainTextResponse("answer")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Yield the address of a server whose answers take longer than heads may."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/", slow)])
    server = uvicorn.Server(uvicorn.Config(app, http=Hasty, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.mark.parametrize("silent", [True, False])
def test_api4_a_head_that_does_not_end(address: tuple[str, int], silent: bool) -> None:
    """A silent connection, and one that sends a byte now and then, is closed once its time is over."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=20) as connection:
        sent = 0
        while not silent and time.monotonic() - began < 4 * SECONDS:
            try:
                connection.sendall(HEAD[sent % 20 : sent % 20 + 1] if sent < 20 else b"x")
            except ConnectionError:
                break
            sent += 1
            time.sleep(SECONDS / 8)
        assert read_until_closed(connection) == b""
    assert sent < 32
    assert SECONDS * 0.9 <= time.monotonic() - began < 20


def test_a_whole_head_is_answered_in_any_time(address: tuple[str, int]) -> None:
    """The deadline is the head's alone: answers may take longer, and so may the next request on the connection."""
    with socket.create_connection(address, timeout=20) as connection:
        for _ in range(2):
            connection.sendall(HEAD[:10])
            time.sleep(SECONDS / 4)
            connection.sendall(HEAD[10:])
            received = b""
            while not received.endswith(b"answer"):
                chunk = connection.recv(4096)
                assert chunk, "the connection was closed"
                received += chunk
            time.sleep(1.5 * SECONDS)  # between requests the server's own patience counts
