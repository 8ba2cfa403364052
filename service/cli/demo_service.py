"""`levelset demo --serve`: the demo ensemble on a service left running, and three commands to paste."""

import json
import os
import subprocess
import sys
import threading
import time

from service.cli import serving
from service.cli.console import results
from service.settings import Settings
from service.supervisor import ADDRESS_FILE

PATIENCE = 120.0  # seconds until we stop waiting for readiness


def serve(settings: Settings, *, seed: int = 0) -> None:
    """Serve the demo ensemble, built first where it is missing, until Ctrl-C.

    Args:
        settings: of the service.
        seed: of the ensemble, where it is built.

    Raises:
        SystemExit: it could not be built; the reason has been printed.
    """
    command = [sys.executable, "-m", "service.cli", "demo", "--build-only", "--seed", str(seed)]
    environment = {**os.environ, **settings.to_environment()}
    # A process of its own, so that the supervisor does not keep the memory of the training.
    code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own module
    if code:
        raise SystemExit(code)
    announce_when_ready(settings)
    serving.serve(settings)


def announce_when_ready(settings: Settings) -> threading.Thread:
    """Return the started thread that prints the three commands once the service is ready."""
    thread = threading.Thread(target=_announce, args=(settings,), name="announce", daemon=True)
    thread.start()
    return thread


def curl_lines(url: str) -> tuple[str, str, str]:
    """Return three commands for a running service: metadata, inference on one digit, an evaluation job."""
    request = {"inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": ZERO}]}
    job = {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": 64},
        "threat": {"norm": "linf", "epsilons": [0.1, 0.2, 0.3], "bounds": [0, 1]},
        "suite": {"name": "quick"},
    }
    return (
        f"curl -s {url}/v2/models/digits",
        f"curl -s {url}/v2/models/digits/infer -d '{json.dumps(request, separators=(',', ':'))}'",
        f"curl -s {url}/api/v1/jobs -H 'Content-Type: application/json' -d '{json.dumps(job, separators=(',', ':'))}'",
    )


def _announce(settings: Settings) -> None:
    from service.cli.client import ServiceClient

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            record = json.loads((settings.data / ADDRESS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if record["pid"] != os.getpid():
            continue
        with ServiceClient(record["url"]) as client:
            if client.is_ready():
                _print(record["url"])
                return


def _print(url: str) -> None:
    console = results()
    console.print(f"serving on {url}/ - Ctrl-C stops it; in another terminal:", markup=False)
    for line in curl_lines(url):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


# A handwritten zero, the first image of the digits data set: 8x8 values in sixteenths.
ZERO = [
    level / 16
    for row in (
        "0 0 5 13 9 1 0 0",
        "0 0 13 15 10 15 5 0",
        "0 3 15 2 0 11 8 0",
        "0 4 12 0 0 8 8 0",
        "0 5 8 0 0 9 8 0",
        "0 4 11 0 1 12 7 0",
        "0 2 14 5 10 12 0 0",
        "0 0 6 13 10 0 0 0",
    )
    for level in map(int, row.split())
]
