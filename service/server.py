"""The web process: uvicorn on a socket that was bound before, with an orderly stop."""

import socket
import time
from types import FrameType
from typing import Final

import uvicorn

from service.app import create_app
from service.routes.rooms import Rooms
from service.security.connections import PunctualConnection
from service.settings import Settings

KEEP_ALIVE: Final = 75  # seconds an idle connection stays open: longer than balancers keep theirs, so that they close
CLOSING: Final = 3  # seconds that pages and lists get after the last inference is answered


class _Server(uvicorn.Server):
    """Stops in an order that loses nothing; a second signal ends it at once.

    At the first signal it is not ready, so that a balancer looks elsewhere, and still answers. After the drain delay it
    refuses new work and answers what it took. When that is done, or its grace is over, it closes.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings
        self._told: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time, end."""
        rooms = self._rooms
        if rooms is None or self._told is not None:
            self.force_exit = self._told is not None
            super().handle_exit(sig, frame)
            return
        rooms.draining = True
        self._told = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server closes now; called ten times a second."""
        return await super().on_tick(counter) or self._is_drained()

    def _is_drained(self) -> bool:
        rooms = self._rooms
        if rooms is None:
            return False
        if self._told is None:
            return rooms.pool.lost  # only a new process has the device again, and the supervisor starts one
        spent = time.monotonic() - self._told - self._settings.drain_delay
        if spent < 0:
            return False
        rooms.refusing = True
        return rooms.pool.idle or spent > self._settings.drain_grace

    @property
    def _rooms(self) -> Rooms | None:
        rooms: Rooms | None = getattr(self.config.app.state, "rooms", None)  # type: ignore[union-attr]
        return rooms


def run_web(settings: Settings, listener: socket.socket) -> None:
    """Serve HTTP on `listener` until SIGTERM or SIGINT; admitted requests are finished first."""
    _Server(web_config(settings), settings).run(sockets=[listener])


def web_config(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves the application: its protocol, its patience and its bounds."""
    return uvicorn.Config(
        create_app(settings),
        http=PunctualConnection,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=CLOSING,
        h11_max_incomplete_event_size=64 << 10,
    )
