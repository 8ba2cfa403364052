"""A real server in a thread, without a worker: jobs stay queued, so that every state is under the test's control."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.routes.rooms import Rooms
from service.settings import Settings
from tests.service.inference.models import copy_models, damage, duplicate


@dataclass(frozen=True, slots=True)
class Web:
    """A running server."""

    client: httpx.Client
    rooms: Rooms
    address: tuple[str, int]


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Yield a server with the model `digits` and a damaged one, `broken`."""
    data = tmp_path_factory.mktemp("web")
    models = copy_models(tmp_path_factory, data)
    duplicate(models, "digits", "1", new_name="broken", new_version="1")
    damage(models, "broken", "1")
    settings = Settings(data=data, max_request_rows=100, max_body_bytes=200_000, offload_bytes=10_000, max_open_jobs=40)
    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all it accepts
    address = listener.getsockname()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", trust_env=False, timeout=30) as client:
        while client.get("/v2/health/ready").status_code != 200:
            assert thread.is_alive()
        yield Web(client, app.state.rooms, address)
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.fixture
def client(web: Web) -> httpx.Client:
    """Return a client of the running server."""
    return web.client
