"""Figures as a job: pictures, numbers and a page that shows them; results that change, shards without an end.

Seen to fail when: the page names another picture; a lost picture is not drawn again; a shard's second, other result is
taken, or its second, equal one refused; the watchdog is not asked, or its error is called internal.
"""

import asyncio
from pathlib import Path

import pytest

from service.errors import Nondeterministic
from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import CommittedShard, Progress
from service.jobs.room import WorkerRoom
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.database import Database, migrate
from tests.service.routes.workshop import OwnProcess

NAMES = [
    "figure4-as_published.png",
    "figure4-as_published.svg",
    "figure4-corrected.png",
    "figure4-corrected.svg",
    "figures.html",
    "figures.json",
]


def test_a_figure_is_drawn_once(tmp_path: Path) -> None:
    """Six files; the page shows the pictures and carries verdicts; drawn again only where one was lost."""
    settings = Settings(data=tmp_path)
    migrate(settings.database_url)
    database = Database(settings.database_url)
    ledger = JobLedger(database, max_open=10)
    process = OwnProcess(settings)
    room = WorkerRoom(Progress(database, worker="worker-0"), process)
    store = ArtifactStore(settings.artifacts_folder)

    def draw() -> dict[str, str]:
        spec = {"type": "figures", "figures": [4], "full": False}
        job = ledger.create(NewJob("local", "figures", spec, {}, 1, None)).job

        async def run() -> None:
            planned = await room.plan(job.id)
            for key in planned["keys"]:
                await room.shard(job.id, planned["plan"], key)
            await room.finish(job.id, planned["plan"])

        asyncio.run(run())
        done = ledger.get(job.id, owner="local")
        assert (done.state, done.report_id, done.result is not None) == ("succeeded", None, True)
        return {file.name: file.sha256 for file in ledger.files(job.id)}

    files = draw()
    assert sorted(files) == NAMES
    page = store.get(files["figures.html"]).decode()
    for words in ("figure4-corrected.svg", "agrees", "Settings"):
        assert words in page
    assert draw() == files
    assert process.computed == 1
    lost = next(path for path in tmp_path.rglob(files["figure4-corrected.svg"]))
    lost.unlink()
    assert draw() == files
    assert process.computed == 2
    database.close()


@pytest.mark.parametrize("digest", ["a" * 64, "b" * 64])
def test_a_result_that_changes_is_seen(tmp_path: Path, digest: str) -> None:
    """The same shard with the same result is ignored, with another one it fails the job."""
    settings = Settings(data=tmp_path)
    migrate(settings.database_url)
    database = Database(settings.database_url)
    job = JobLedger(database, max_open=10).create(NewJob("local", "evaluate", {}, {}, 1, None)).job
    progress = Progress(database, worker="worker-0")
    progress.planned(job.id, shards=1, samples=1)
    progress.commit(job.id, CommittedShard("k" * 64, "a" * 64, 1, False, "one"))
    again = CommittedShard("k" * 64, digest, 1, False, "one")
    if digest.startswith("a"):
        progress.commit(job.id, again)
    else:
        with pytest.raises(Nondeterministic):
            progress.commit(job.id, again)
    database.close()


def test_a_shard_without_an_end_is_stopped(tmp_path: Path) -> None:
    """After the watchdog's seconds, three times, the job fails with the setting that allows more."""

    class Endless(OwnProcess):
        async def ask(self, message: object) -> dict[str, object]:
            await asyncio.sleep(60)
            return {}

    settings = Settings(data=tmp_path)
    migrate(settings.database_url)
    database = Database(settings.database_url)
    ledger = JobLedger(database, max_open=10)
    job = ledger.create(NewJob("local", "evaluate", {}, {}, 1, None)).job
    room = WorkerRoom(Progress(database, worker="worker-0"), Endless(settings), watchdog=0.02)
    with pytest.raises(Exception, match="LEVELSET_SHARD_TIMEOUT"):
        asyncio.run(room.plan(job.id))
    assert (ledger.get(job.id, owner="local").error or {})["code"] == "poison"
    database.close()
