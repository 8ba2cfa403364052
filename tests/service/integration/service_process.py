"""The real thing under test: `serve` in its own process, with a web and a worker process below it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from attacks.shards import merge, plan, run_shard
from service.jobs.workbench import build_evaluation
from service.settings import Settings

SERVE = "from service.settings import Settings; from service.supervisor import serve; serve(Settings())"
PATIENCE = 90.0


class Service:
    """A running service and a client of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        environment = {**os.environ, **settings.to_environment(), "OMP_NUM_THREADS": "1"}
        self.log = (settings.data / "log.txt").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE], env=environment, stdout=self.log, stderr=subprocess.STDOUT
        )
        address = settings.data / "service.json"
        self.until(lambda: address.exists() and json.loads(address.read_text())["pid"] == self.process.pid)
        url = json.loads(address.read_text())["url"]
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.until(self.is_ready)

    def is_ready(self) -> bool:
        """Return whether the service says it is ready."""
        try:
            return self.client.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (self.settings.data / "log.txt").read_text()[-4000:]
            time.sleep(0.05)

    def submit(self, **changes: Any) -> str:
        """Return the id of a new job."""
        spec = {
            "type": "evaluate",
            "target": "digits",
            "data": {"name": "digits", "split": "test", "n": 64},
            "threat": {"norm": "linf", "epsilons": [0.1, 0.2]},
            "suite": {"name": "quick"},
            "block": 8,
        } | changes
        response = self.client.post("/api/v1/jobs", json=spec)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job as the service shows it."""
        found: dict[str, Any] = self.client.get(f"/api/v1/jobs/{job_id}").json()
        return found

    def wait_for_shards(self, job_id: str, count: int) -> None:
        """Wait until so many shards are committed."""
        self.until(lambda: self.job(job_id)["progress"]["shards_done"] >= count)

    def wait_for_end(self, job_id: str, state: str = "succeeded") -> dict[str, Any]:
        """Return the job once it has ended, which must be in that state."""
        self.until(lambda: self.job(job_id)["state"] in ("succeeded", "failed", "cancelled"))
        job = self.job(job_id)
        assert job["state"] == state, (job, (self.settings.data / "log.txt").read_text()[-4000:])
        return job

    def report(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the report of a finished job."""
        found: dict[str, Any] = self.client.get(f"/api/v1/reports/{job['report_id']}").json()
        return found

    def undisturbed_digest(self, job_id: str) -> str:
        """Return the digest of the report that the library gives for the same specification, here and now."""
        evaluation = build_evaluation(self.job(job_id)["spec"], self.settings)
        results = {shard.key: run_shard(shard, evaluation) for shard in plan(evaluation)}
        return str(merge(evaluation, results).digest)

    def child(self, role: str) -> int:
        """Return the process id of the web or worker process."""
        found = [pid for pid in children(self.process.pid) if f"service.supervisor {role}" in command_line(pid)]
        assert len(found) == 1
        return found[0]

    def family(self) -> list[int]:
        """Return every process below the supervisor."""
        below = children(self.process.pid)
        return below + [pid for child in below for pid in children(child)]

    def close(self) -> int:
        """Return the exit code after an orderly stop."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self.log.close()
        return code


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """Yield a service that is stopped at the end, whatever happens."""
    service = Service(settings)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.close()
        else:
            service.client.close()
            service.log.close()


def children(pid: int) -> list[int]:
    """Return the processes started by any thread of a process."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, listing.read_text().split())
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process, empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\x00", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
