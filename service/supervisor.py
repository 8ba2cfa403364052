"""`levelset serve`: one web and one worker process under a supervisor that restarts them and takes them along.

    supervisor   no torch, no HTTP; owns the data folder and the listening socket
      web        HTTP and inference
      worker     durable jobs
        shard process   torch, one device

The socket belongs to the supervisor, so a restart of the web process refuses no connection.
"""

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from service.errors import DataFolderInUse
from service.jobs.kinship import die_with_parent
from service.observability import logs
from service.settings import Settings

LOG = logging.getLogger("levelset.supervisor")
ROLES: Final = ("web", "worker")
BACK_OFF: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds before the n-th restart in a row
STEADY: Final = 10.0  # seconds after which a child counts as healthy again
ADDRESS_FILE: Final = "service.json"

Role = Literal["web", "worker"]


def serve(settings: Settings, role: Role | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of the whole service.
        role: one process alone, in this one; None for the supervisor with both.

    Raises:
        DataFolderInUse: another service owns the data folder.
        MethodRefused: the address is beyond loopback, every key is revoked, and nobody allowed that.
    """
    if role != "worker":
        _guard_open_address(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    if role is None:
        with owned(settings.data / "service.lock", wait=0.0), _listening(settings) as listener:
            Supervisor(settings, listener).run()
    elif role == "web":
        with owned(settings.data / "web.lock", wait=10.0), _listening(settings) as listener:
            _run_web(settings, listener)
    else:
        with owned(settings.data / f"{settings.worker}.lock", wait=10.0):
            _run_worker(settings)


class Supervisor:
    """Keeps the two children alive until it is told to stop.

    Args:
        settings: handed to the children through their environment.
        listener: the bound socket the web process accepts on.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._failures = dict.fromkeys(ROLES, 0)
        self._started = dict.fromkeys(ROLES, 0.0)
        self._due: dict[str, float] = {}  # role -> when its next process starts, while it has none
        self._stopping = False

    def run(self) -> None:
        """Start both children and watch them; returns when both are gone after a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for role in ROLES:
            self._start(role)
        while not self._stopping:
            for role in ROLES:
                self._look_after(role)
            time.sleep(0.1)
        self._stop()

    def _on_signal(self, *_: object) -> None:
        if self._stopping:
            for child in self._children.values():
                child.kill()
        self._stopping = True

    def _start(self, role: str) -> None:
        command = [sys.executable, "-m", "service.supervisor", role, str(os.getpid()), str(self._listener.fileno())]
        environment = {**os.environ, **self._settings.to_environment(), "OMP_NUM_THREADS": str(self._settings.threads)}
        descriptors = [self._listener.fileno()] if role == "web" else []
        # A group of its own: Ctrl-C reaches the supervisor only, which then stops its children in order.
        self._children[role] = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, env=environment, pass_fds=descriptors, process_group=0
        )
        self._started[role] = time.monotonic()

    def _look_after(self, role: str) -> None:
        code = self._children[role].poll()
        if code is None:
            if time.monotonic() - self._started[role] > STEADY:
                self._failures[role] = 0
            return
        if role not in self._due:
            pause = BACK_OFF[min(self._failures[role], len(BACK_OFF) - 1)]
            LOG.warning("the %s process ended with code %s; starting it again in %.1f s", role, code, pause)
            self._failures[role] += 1
            self._due[role] = time.monotonic() + pause
        elif time.monotonic() >= self._due[role]:  # each role waits for itself: one in trouble holds up no other
            del self._due[role]
            self._start(role)

    def _stop(self) -> None:
        for child in self._children.values():
            child.terminate()
        settings = self._settings
        deadline = time.monotonic() + settings.drain_delay + settings.drain_grace + settings.worker_grace
        for child in self._children.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def owned(path: Path, *, wait: float) -> Iterator[None]:
    """Hold the lock file for the length of the block.

    Args:
        path: the lock file.
        wait: seconds to wait for a holder that may be on its way out.

    Raises:
        DataFolderInUse: somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise DataFolderInUse(
                        f"data folder {path.parent}: expected no other service on it, got one that holds {path.name}; "
                        "stop it, or choose another folder with --data"
                    ) from None
                time.sleep(0.05)
        yield


def _guard_open_address(settings: Settings) -> None:
    if not settings.is_loopback and not settings.insecure:
        from service.security.opening import require_key  # the database is opened here only where a key is needed

        require_key(settings)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because the event loop switches off delayed sending on such sockets only: 40 ms an answer.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(1024)
        address = settings.data / ADDRESS_FILE
        host = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
        record = {"url": f"http://{host}:{listener.getsockname()[1]}", "pid": os.getpid()}
        temporary = address.with_suffix(".new")
        temporary.write_text(json.dumps(record))
        temporary.replace(address)
        try:
            yield listener
        finally:
            address.unlink(missing_ok=True)


def _run_web(settings: Settings, listener: socket.socket) -> None:
    from service.server import run_web  # the web stack is imported only where it runs

    run_web(settings, listener)


def _run_worker(settings: Settings) -> None:
    from service.jobs.worker import run_worker

    run_worker(settings)


def main() -> None:
    """Run one child: `python -m service.supervisor web|worker <parent> <socket>`; called by the supervisor only."""
    role, parent, descriptor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent)
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    lock = "web" if role == "web" else settings.worker
    with owned(settings.data / f"{lock}.lock", wait=10.0):
        if role == "web":
            _run_web(settings, socket.socket(fileno=descriptor))
        else:
            _run_worker(settings)


if __name__ == "__main__":
    main()
