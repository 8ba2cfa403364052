"""A real server in a thread of this process, on a port of its own."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from service.app import create_app
from service.routes.rooms import Rooms
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Live:
    """A running server."""

    rooms: Rooms
    host: str
    port: int
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"


@contextmanager
def live(settings: Settings) -> Iterator[Live]:
    """Yield a server that is ready; it is stopped at the end."""
    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all it accepts
    host, port = listener.getsockname()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False, timeout=30) as client:
        while client.get("/v2/health/ready").status_code != 200:
            assert thread.is_alive()
    try:
        yield Live(app.state.rooms, host, port, loops[0])
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
