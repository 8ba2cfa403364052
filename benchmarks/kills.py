"""Does a job end in the same report whatever is killed? Random `kill -9` of a real service during one evaluation.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--block 6] [--samples 304]

The job runs twice on the digits ensemble: undisturbed, which also tells the mean time of a shard, and with kills of the
worker, the web process or both, drawn from the seed. The gap before each kill is uniform between 0.5 and 1.5 times
`--gap` mean shard times, counted from the first shard that the new worker ended; one kill in five comes as soon as
there is a process to kill, while it starts, but never twice in a row: a job whose worker dies three times before its
first shard ends is given up, by rule. Executions are counted in the service's own log, to which the process that runs
shards appends a line before and after each.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import record
from service.cli.process import running_service
from service.demo import build_digits
from service.settings import Settings

PATIENCE: Final = 120.0  # seconds that anything may take
TARGETS: Final = (("worker",), ("web",), ("worker", "web"))
SPREAD: Final = (0.5, 1.5)  # least and largest gap, in mean gaps
EARLY: Final = 0.2  # share of the kills that do not wait for a shard
EPSILONS: Final = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Execution:
    """One line of the log about a shard.

    Attributes:
        key: of the shard.
        ended: whether it ended there; it began otherwise.
        cached: whether its result was found, not computed; None at a beginning.
    """

    key: str
    ended: bool
    cached: bool | None


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the job left behind."""

    digest: str
    job: dict[str, Any]
    events: list[dict[str, Any]]
    executions: list[Execution]
    seconds: float


class Site:
    """A running service and a client that bears its deaths.

    Args:
        settings: of the service.
        address: where it answers.
    """

    def __init__(self, settings: Settings, address: str) -> None:
        self._data = settings.data
        self._client = httpx.Client(base_url=address, trust_env=False, timeout=30)
        self._supervisor = int(json.loads((settings.data / "service.json").read_text())["pid"])

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Return the answer, asked again until there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                response = self._client.request(method, path, **more)
                response.raise_for_status()
                return response
            except (httpx.TransportError, httpx.HTTPStatusError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def process(self, role: str) -> int | None:
        """Return the process id of the web or the worker process, None while there is none."""
        listings = Path(f"/proc/{self._supervisor}/task").glob("*/children")
        below = [pid for listing in listings for pid in listing.read_text().split()]
        found = [int(pid) for pid in below if f"service.supervisor {role}" in _command_line(pid)]
        return found[0] if found else None

    def kill(self, role: str) -> None:
        """Kill a process; one that is about to be started is waited for."""
        until(lambda: self.process(role) is not None)
        pid = self.process(role)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def executions(self) -> list[Execution]:
        """Return what the log says about shards, oldest first."""
        lines = (self._data / "service.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{") and '"shard"' in line]
        return [Execution(entry["shard"], entry["message"] == "shard ended", entry.get("cached")) for entry in entries]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return every event of the job."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            page = self.ask("GET", f"/api/v1/jobs/{job_id}/events?after={found[-1]['seq'] if found else 0}").json()
            found, more = found + page["data"], page["has_more"]
        return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the service does not come back")
        time.sleep(0.02)


def run(data: Path, spec: dict[str, Any], disturb: Callable[[Site, str], None]) -> Run:
    """Return the outcome of a job on a new service while something disturbs it."""
    settings = Settings(data=data, port=0, log_format="json", log_level="info")
    with running_service(settings) as address:
        site = Site(settings, address)
        began = time.monotonic()
        job_id = site.ask("POST", "/api/v1/jobs", json=spec, headers={"Idempotency-Key": "one"}).json()["id"]
        disturb(site, job_id)
        until_ended(site, job_id)
        job = site.ask("GET", f"/api/v1/jobs/{job_id}").json()
        seconds = time.monotonic() - began
        digest = ""
        if job["report_id"]:
            digest = site.ask("GET", f"/api/v1/reports/{job['report_id']}?format=json").json()["report_digest"]
        return Run(digest, job, site.events(job_id), site.executions(), seconds)


def until_ended(site: Site, job_id: str) -> None:
    """Wait until the job is over, as long as it makes progress."""
    seen, deadline = -1, time.monotonic() + PATIENCE
    while (job := site.ask("GET", f"/api/v1/jobs/{job_id}").json())["state"] in ("queued", "running"):
        if job["progress"]["shards_done"] != seen:
            seen, deadline = job["progress"]["shards_done"], time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            raise TimeoutError(f"no shard within {PATIENCE:g} s: {job}")
        time.sleep(0.3)


def killer(kills: int, gap: float, seed: int, done: list[tuple[str, ...]]) -> Callable[[Site, str], None]:
    """Return what kills processes at random; `done` receives who was killed.

    Args:
        kills: how many.
        gap: mean seconds before each.
        seed: of gaps and targets.
        done: filled.
    """

    def disturb(site: Site, job_id: str) -> None:
        rng = random.Random(seed)
        waits_for = early = 0
        for number in range(kills):
            early = int(not early and rng.random() < EARLY)
            if not early:
                try:
                    until(lambda: ends(site) > waits_for)  # noqa: B023 - called within the turn
                except TimeoutError:
                    return  # the job is over, or stuck: its record and the number of kills tell
                time.sleep(gap * rng.uniform(*SPREAD))
            roles = rng.choice(TARGETS)
            for role in roles:
                site.kill(role)
            done.append(roles)
            waits_for = ends(site) if "worker" in roles else waits_for
            print(f"kill {number + 1}: {' and '.join(roles)} after {ends(site)} shards", flush=True)

    return disturb


def ends(site: Site) -> int:
    """Return how often a shard ended."""
    return sum(execution.ended for execution in site.executions())


def faults(calm: Run, stormy: Run, kills: int, wanted: int) -> Iterator[str]:
    """Yield what should not be: nothing, if the service keeps its word."""
    if kills < wanted:
        yield f"{kills} kills before the job ended, {wanted} were wanted; judge more samples"
    if stormy.job["state"] != "succeeded":
        yield f"the job ended {stormy.job['state']}: {stormy.job['error']}"
    if stormy.digest != calm.digest:
        yield f"report digest {stormy.digest[:12]} instead of {calm.digest[:12]}"
    begun = begins(stormy)
    if begun.keys() != begins(calm).keys():
        yield "other shards than in the undisturbed run"
    if max(begun.values()) > 1 + kills:
        yield f"a shard ran {max(begun.values())} times"
    if again := computed_again(stormy):
        yield f"{len(again)} shards computed again after their result was stored"
    if [event["seq"] for event in stormy.events] != list(range(1, len(stormy.events) + 1)):
        yield "the numbers of events have gaps"
    counted = [event["data"]["shards_done"] for event in stormy.events if event["kind"] == "progress"]
    if counted != list(range(1, len(begun) + 1)):
        yield "a shard was committed twice or never"


def begins(one: Run) -> Counter[str]:
    """Return how often each shard began."""
    return Counter(execution.key for execution in one.executions if not execution.ended)


def computed_again(one: Run) -> set[str]:
    """Return the shards that were computed although an earlier execution had stored their result."""
    stored: set[str] = set()
    again: set[str] = set()
    for execution in one.executions:
        if execution.ended and execution.key in stored and not execution.cached:
            again.add(execution.key)
        if execution.ended:
            stored.add(execution.key)
    return again


def figures(calm: Run, stormy: Run, done: list[tuple[str, ...]], gap: float) -> dict[str, Any]:
    """Return the numbers of both runs."""
    begun = begins(stormy)
    shards = len(begun)
    return {
        "kills": len(done),
        "killed": {" and ".join(roles): done.count(roles) for roles in TARGETS},
        "shards": shards,
        "mean_shard_seconds": shard_seconds(calm),
        "mean_gap_seconds": gap,
        "executions": sum(begun.values()),
        "most_executions_of_one_shard": max(begun.values()),
        "shards_by_executions": {str(n): k for n, k in sorted(Counter(begun.values()).items())},
        "computed_after_stored": len(computed_again(stormy)),
        "attempts": stormy.job["attempt"],
        "events": len(stormy.events),
        "seconds_undisturbed": calm.seconds,
        "seconds_with_kills": stormy.seconds,
        "report_digest_undisturbed": calm.digest,
        "report_digest_with_kills": stormy.digest,
    }


def shard_seconds(one: Run) -> float:
    """Return the mean seconds from one committed shard to the next."""
    return one.seconds / len(begins(one))


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\x00", b" ").decode()
    except OSError:
        return ""


def main() -> int:
    """Run the job twice, print a table, write the JSON; returns 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", type=int, default=6, help="points of one shard")
    parser.add_argument("--samples", type=int, default=304, help="points that the job judges")
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--gap", type=float, default=8.0, help="mean gap before a kill, in mean shard times")
    given = parser.parse_args()
    spec = {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": given.samples},
        "threat": {"norm": "linf", "epsilons": list(EPSILONS)},
        "suite": {"name": given.suite},
        "block": given.block,
    }
    with tempfile.TemporaryDirectory(prefix="levelset-kills-") as folder:
        calm_data, stormy_data = Path(folder) / "calm", Path(folder) / "stormy"
        build_digits(Settings(data=calm_data))
        shutil.copytree(calm_data / "models", stormy_data / "models")
        calm = run(calm_data, spec, lambda site, job_id: None)
        gap = given.gap * shard_seconds(calm)
        done: list[tuple[str, ...]] = []
        stormy = run(stormy_data, spec, killer(given.kills, gap, given.seed, done))
    found = figures(calm, stormy, done, gap)
    wrong = list(faults(calm, stormy, len(done), given.kills))
    record.write("kills", __doc__ or "", {**found, "faults": wrong}, settings=vars(given))
    table = Table("what", "value", title=f"{given.kills} kills, seed {given.seed}")
    for name, value in found.items():
        table.add_row(name, f"{value:.3g}" if isinstance(value, float) else str(value))
    Console().print(table)
    for fault in wrong:
        print(f"FAULT: {fault}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
