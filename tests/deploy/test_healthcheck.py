"""The container's health check tells a ready server from every other one.

Mutations seen to fail: status ignored; `ready` ignored; the error of a closed port not caught.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.healthcheck import READY_PATH, check, main

Serve = Callable[[int, bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with one answer to the ready path and returns its port."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == READY_PATH else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_ready_server_is_healthy(serve: Serve) -> None:
    """Status 200 with ready true is the one healthy answer."""
    assert check("127.0.0.1", serve(200, json.dumps({"live": True, "ready": True}).encode())) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, b'{"live": true, "ready": false}'), (200, b'{"ready": false}'), (503, b'{"ready": true}'), (200, b"hello")],
)
def test_any_other_answer_is_not(serve: Serve, status: int, body: bytes) -> None:
    """A draining server, a wrong status and a stranger on the port are all reported in a sentence."""
    problem = check("127.0.0.1", serve(status, body))
    assert problem is not None
    assert "expected" in problem


def test_a_closed_port_is_not_healthy() -> None:
    """Nobody listening is a sentence, not a traceback."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        problem = check("127.0.0.1", held.getsockname()[1], timeout=1.0)
    assert problem is not None
    assert "Traceback" not in problem


def test_the_exit_code_follows_the_server(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port comes from LEVELSET_PORT, and a proxy in the environment is not asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("LEVELSET_PORT", str(serve(200, b'{"ready": true}')))
    assert main() == 0
    monkeypatch.setenv("LEVELSET_PORT", str(serve(503, b'{"ready": false}')))
    assert main() == 1


def test_the_check_loads_nothing_heavy() -> None:
    """The module starts without the web stack and without torch."""
    code = "import sys, service.healthcheck; print([m for m in ('torch', 'fastapi', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
