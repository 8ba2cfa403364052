"""The web process: uvicorn on a socket that was bound before, with an orderly stop."""

import logging
import socket
import threading
from types import FrameType

import uvicorn

from service.app import create_app
from service.settings import Settings

LOG = logging.getLogger("levelset.web")


class _Server(uvicorn.Server):
    """Says `not ready` at the first signal and stops after the drain delay; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        rooms = getattr(self._app.state, "rooms", None)
        if rooms is not None:
            rooms.draining = True
        if self._told or self._settings.drain_delay == 0:
            self.force_exit = self._told
            super().handle_exit(sig, frame)
        else:
            timer = threading.Timer(self._settings.drain_delay, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        self._told = True

    @property
    def _app(self) -> "uvicorn.config.ASGIApplication":  # type: ignore[name-defined]
        return self.config.app


def run_web(settings: Settings, listener: socket.socket) -> None:
    """Serve HTTP on `listener` until SIGTERM or SIGINT; admitted requests are finished first."""
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_grace) or None,
        h11_max_incomplete_event_size=64 << 10,
    )
    _Server(config, settings).run(sockets=[listener])
