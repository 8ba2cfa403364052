"""How long do the list of jobs and the status of one take when the store holds many?

    python benchmarks/store.py [--jobs 10000] [--asked 500]

Fills a new database with ended jobs of five shards each, then reads as the API does: the newest 50 jobs with their
counts, the same from the middle, and one job with its counts. Prints p50 and p99 in milliseconds: SQLite, and
PostgreSQL where a URL of an empty database is given in LEVELSET_DATABASE. The time of HTTP is not in it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

import numpy as np
from sqlalchemy import insert

from service.jobs.ledger import JobLedger
from service.store.database import Database, migrate
from service.store.tables import Job, Shard

SHARDS = 5
PAGE = 50


def fill(database: Database, jobs: int) -> None:
    """Write that many jobs of two owners."""
    rows = [
        {
            "id": f"job-{n:032x}", "owner": ("local", "other")[n % 2], "type": "evaluate", "state": "succeeded",
            "spec": {"target": "digits"}, "spec_digest": "d" * 64, "details": {}, "priority": 1, "attempt": 1,
            "deaths": 0, "last_seq": 0, "run": 1, "created_at": n,
        }
        for n in range(jobs)
    ]  # fmt: skip
    shards = [
        {"job_id": row["id"], "key": f"{k:064x}", "digest": "d" * 64, "samples": 32, "cached": False, "finished_at": k}
        for row in rows
        for k in range(SHARDS)
    ]
    with database.write() as session:
        session.execute(insert(Job), rows)
        session.execute(insert(Shard), shards)


def measure(url: str, jobs: int, asked: int) -> Mapping[str, tuple[float, float]]:
    """Return p50 and p99 in milliseconds of each question."""
    migrate(url)
    database = Database(url)
    fill(database, jobs)
    ledger = JobLedger(database, max_open=jobs)
    one, middle = f"job-{jobs // 2 & ~1:032x}", (jobs // 2, "job-")
    questions: dict[str, Callable[[], object]] = {
        "list": lambda: ledger.counts(ledger.page(owner="local", limit=PAGE)),
        "list, from the middle": lambda: ledger.counts(ledger.page(owner="local", limit=PAGE, before=middle)),
        "list, a state that none has": lambda: ledger.page(owner="local", limit=PAGE, state="failed"),
        "status": lambda: ledger.counts([ledger.get(one, owner="local")]),
    }
    found = {name: _quantiles(ask, asked) for name, ask in questions.items()}
    database.close()
    return found


def _quantiles(ask: Callable[[], object], asked: int) -> tuple[float, float]:
    times = []
    for _ in range(asked):
        begun = time.perf_counter()
        ask()
        times.append(1e3 * (time.perf_counter() - begun))
    low, high = np.quantile(times, [0.5, 0.99])
    return float(low), float(high)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/store.sqlite", "postgresql": os.environ.get("LEVELSET_DATABASE")}
        for kind, url in urls.items():
            if url is not None:
                for question, (low, high) in measure(url, options.jobs, options.asked).items():
                    print(f"{kind}, {options.jobs} jobs, {question}: p50 {low:.2f} ms, p99 {high:.2f} ms")


if __name__ == "__main__":
    main()
