"""A real PostgreSQL for tests: a new cluster in a folder of its own, reached through a Unix socket, gone at the end."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

PLACES = Path("/usr/lib/postgresql")  # Debian keeps each major version's programs in a folder that is not on the path
ROLE = "levelset"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server.

    Attributes:
        programs: folder of `initdb` and `pg_ctl`.
        folder: of its data and its socket.
    """

    programs: Path
    folder: Path

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(f"host={self.folder} user={ROLE} dbname=postgres", autocommit=True) as connection:
            connection.execute(f'create database "{name}"')  # type: ignore[call-overload]
        return f"postgresql+psycopg://{ROLE}@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start it; returns once it answers."""
        quick = "-c fsync=off -c full_page_writes=off -c max_connections=200"
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} {quick}"
        self._control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is what a crash is."""
        self._control("-m", mode, "-w", "stop")

    def _control(self, *words: str) -> None:
        _run([str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), *words], self.folder)


def programs() -> Path | None:
    """Return the folder of the newest installed server's programs, None without one."""
    on_path = shutil.which("initdb")
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return Path(on_path).resolve().parent if on_path else found[-1].parent if found else None


@contextmanager
def cluster(place: Path) -> Iterator[Cluster]:
    """Yield a running server made with the programs in `place`."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: the path of a socket has at most 107 bytes
    try:
        user = _unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _run([str(place / "initdb"), "-A", "trust", "-U", ROLE, "-N", "-D", str(folder / "data")], folder)
        made = Cluster(place, folder)
        made.start()
        try:
            yield made
        finally:
            with suppress(subprocess.CalledProcessError):  # a test may have stopped it
                made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return who runs the server, which refuses root; None where this process is not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _run(command: Sequence[str], folder: Path) -> None:
    user = _unprivileged()
    other: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    with (folder / f"said-{uuid.uuid4().hex}").open("wb") as said:  # no pipe: the server would hold it open
        subprocess.run(command, cwd=folder, stdout=said, stderr=said, check=True, timeout=120, **other)
