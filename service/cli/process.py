"""The service as a child process: started on a port, waited for, stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from service.cli.client import ServiceClient, ServiceFailure
from service.settings import Settings
from service.supervisor import ADDRESS_FILE

START_SECONDS = 120.0  # importing torch twice on a busy machine
STOP_SECONDS = 45.0


@contextlib.contextmanager
def running_service(settings: Settings) -> Iterator[str]:
    """Yield the address of a service that runs with these settings; it is stopped at the end.

    Its output goes to `service.log` in the data folder.

    Args:
        settings: of the service; port 0 lets the system choose one.

    Raises:
        ServiceFailure: it does not become ready; the message carries the end of its log.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    log = settings.data / "service.log"
    command = [sys.executable, "-m", "service.cli", "serve"]
    environment = {**os.environ, **settings.to_environment()}
    with log.open("ab") as output:
        # The environment carries every setting; a session of its own keeps Ctrl-C for us, who then stop it in order.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield wait_until_ready(process, settings.data / ADDRESS_FILE, log)
    finally:
        stop(process)


def wait_until_ready(process: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    """Return the address of the service once it is ready.

    Args:
        process: the service.
        address: file in which the service writes the address it listens on.
        log: file with its output.

    Raises:
        ServiceFailure: the process ended, or was not ready in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceFailure(
                f"service: expected it to start, got exit code {process.returncode}; its log ends:\n{_tail(log)}"
            )
        url = _written_by(process.pid, address)
        if url is not None:
            with ServiceClient(url) as client:
                if client.is_ready():
                    return url
        time.sleep(0.1)
    raise ServiceFailure(
        f"service: expected it to be ready within {START_SECONDS:g} s, got no readiness; its log ends:\n{_tail(log)}"
    )


def _written_by(pid: int, address: Path) -> str | None:
    """Return the address that this very process wrote; a file left behind by another one does not count."""
    try:
        record = json.loads(address.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(record["url"]) if record["pid"] == pid else None


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the service in order, and with force if it does not end in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
