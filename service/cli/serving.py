"""The service in this process, with what can go wrong at its start put into words."""

import errno
from typing import Literal

from service import supervisor
from service.cli.client import ServiceFailure
from service.errors import ServiceError
from service.settings import Settings

REASONS = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port with --port (0: a free one)",
    errno.EADDRNOTAVAIL: "this machine has no such address; correct --host",
    errno.EACCES: "ports below 1024 need rights this user lacks; choose another with --port",
}


def serve(settings: Settings, role: Literal["web", "worker"] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        settings: of the service.
        role: one process alone; None for the supervisor with both.

    Raises:
        ServiceFailure: the address cannot be bound.
        ServiceError: the data folder cannot be written or is in use, or the address is not allowed.
    """
    try:
        supervisor.serve(settings, role)
    except OSError as error:
        if error.filename is not None:  # a file, not a socket
            raise ServiceError(
                f"data folder {settings.data}: expected a folder this user can write, got {error.strerror}: "
                f"{error.filename}; change its permissions, or name another with --data"
            ) from error
        if error.errno not in REASONS:
            raise
        raise ServiceFailure(
            f"service: expected to listen on {settings.host}:{settings.port}, got {error.strerror}: "
            f"{REASONS[error.errno]}"
        ) from error
