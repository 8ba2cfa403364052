"""What is forgotten and what never is.

Seen to fail when: files named by a result of a shard are collected; an unfinished job is forgotten for its age.
"""

import json
import os
from pathlib import Path

import pytest

from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import CommittedShard, NewFile, NewReport, Outcome, Progress
from service.jobs.retention import DAY, Keeper
from service.store.artifacts import ArtifactStore
from service.store.database import Database, migrate
from service.store.tables import Job

KEY = "a" * 64


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Return an empty database."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    migrate(url)
    return Database(url)


def age(folder: Path) -> None:
    """Make every file look two days old."""
    for path in folder.rglob("*"):
        os.utime(path, (path.stat().st_mtime - 2 * DAY,) * 2)


def test_only_what_nothing_names_is_collected(database: Database, tmp_path: Path) -> None:
    """Reports, files, plans, results and what results name stay; orphans go, young ones do not."""
    store = ArtifactStore(tmp_path / "artifacts")
    kept = {name: store.put(name.encode()) for name in ("report", "file", "plan", "weights")}
    orphan = store.put(b"orphan")
    store.put_result(KEY, json.dumps({"deep": [{"weights": kept["weights"]}]}).encode())
    store.put_result("b" * 64, b"{}")
    draft = tmp_path / "bases" / ".new-x"
    draft.mkdir(parents=True)
    ledger, progress = JobLedger(database, max_open=9), Progress(database, worker="w")
    job = ledger.create(NewJob("local", "evaluate", {}, {}, 1, None)).job
    progress.planned(job.id, shards=1, samples=1, plan=kept["plan"])
    progress.commit(job.id, CommittedShard(KEY, "d" * 64, 1, False, "one"))
    report = NewReport("d" * 64, "CHECKED", {}, {"json": kept["report"]})
    progress.succeeded(job.id, Outcome(report, None, (NewFile("f", kept["file"], 4, "text/plain"),)))
    keeper = Keeper(database, tmp_path / "artifacts", tmp_path / "bases", keep_days=0)
    assert keeper.collect().files == 0
    age(tmp_path)
    assert keeper.collect().files == 3
    assert not store.has(orphan)
    assert not draft.exists()
    assert store.get_result("b" * 64) is None
    assert all(map(store.has, kept.values()))
    assert store.get_result(KEY) is not None
    database.close()


def test_old_jobs_are_forgotten_and_their_reports_kept(database: Database, tmp_path: Path) -> None:
    """Only ended jobs, only beyond the days asked for."""
    ledger, progress = JobLedger(database, max_open=9), Progress(database, worker="w")
    old, young, running = (ledger.create(NewJob("local", "evaluate", {}, {}, 1, None)).job.id for _ in range(3))
    for job_id in (old, young):
        progress.planned(job_id, shards=0, samples=0)
        progress.succeeded(job_id, Outcome(NewReport("d" * 64, "CHECKED", {}, {"json": "a" * 64})))
    with database.write() as session:
        for job_id in (old, running):
            session.get_one(Job, job_id).created_at -= 3 * DAY * 1_000_000
        ended = session.get_one(Job, old)
        ended.finished_at = (ended.finished_at or 0) - 3 * DAY * 1_000_000
    assert Keeper(database, tmp_path / "a", tmp_path / "b", keep_days=2).collect().jobs == 1
    assert sorted(job.id for job in ledger.page(owner="local", limit=9)) == sorted([young, running])
    database.close()
