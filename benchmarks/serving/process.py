"""A server as a process on one core, with its children; started, waited for, ended."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.serving.client import Client, get
from benchmarks.serving.systems import System, Terms

SERVER_CORE = 0
START_SECONDS = 180.0
STOP_SECONDS = 15.0


@asynccontextmanager
async def running(system: System, terms: Terms, environments: Path) -> AsyncIterator[Client]:
    """Yield a client of a server that is ready; the server is ended behind it.

    Args:
        system: what to start.
        terms: what it is given.
        environments: folder of the peers' environments.

    Raises:
        RuntimeError: it does not become ready; the message ends with its log.
    """
    terms.folder.mkdir(parents=True, exist_ok=True)
    log = terms.folder / f"{system.package}-{system.variant}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            system.command(system.python(environments), terms),
            env={**os.environ, **system.environment(terms)},
            cwd=terms.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        )
    client = Client(terms.port)
    try:
        await _until_ready(process, client, system, log)
        _share_alike([process.pid, *_descendants(process.pid)])
        yield client
    finally:
        await client.close()
        _end(process)


async def _until_ready(process: subprocess.Popen[bytes], client: Client, system: System, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{system.name}: ended with {process.returncode}; its log ends:\n{_tail(log)}")
        with suppress(OSError, TimeoutError):
            if (await asyncio.wait_for(client.ask(get(system.health)), 5)).status == 200:
                return
        await asyncio.sleep(0.2)
    raise RuntimeError(f"{system.name}: not ready after {START_SECONDS:g} s; its log ends:\n{_tail(log)}")


def _share_alike(family: list[int]) -> None:
    """Give every process of a server our own share of a busy core: Linux counts by session, and some open their own."""
    try:
        own = Path("/proc/self/autogroup").read_text().split()[-1]
        for pid in family:
            Path(f"/proc/{pid}/autogroup").write_text(own)
    except OSError:
        return  # no such counting here, or not ours to change


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and everything it started, in order if it can."""
    family = [process.pid, *_descendants(process.pid)]
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> list[int]:
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in listed.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
