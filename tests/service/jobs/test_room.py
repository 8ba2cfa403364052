"""What the worker makes of a step that fails: the job's record, the number of tries, the log.

The process that owns torch is a script here, so that it can fail at will; the real one runs in the integration tests.
Seen to fail: an unforeseen error logged twice; a shard whose input is at fault tried again.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import Progress
from service.jobs.room import TRIES, WorkerRoom
from service.jobs.shard_process import ShardFailed, ShardProcess
from service.settings import Settings
from service.store.database import Database, migrate


class ScriptedProcess(ShardProcess):
    """Raises the same error whatever it is asked."""

    def __init__(self, settings: Settings, error: Exception) -> None:
        super().__init__(settings)
        self.error = error
        self.asked = 0

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Raise."""
        self.asked += 1
        raise self.error


def failed_job(folder: Path, error: Exception) -> tuple[dict[str, Any], int]:
    """Return the error that a job's record ends with when planning it raises, and how often it was tried."""
    url = f"sqlite:///{folder / 'jobs.sqlite'}"
    migrate(url, lock=folder / "lock")
    database = Database(url)
    ledger = JobLedger(database, max_open=10)
    job = ledger.create(NewJob("local", "evaluate", {"target": "digits"}, {}, 1, None)).job
    process = ScriptedProcess(Settings(data=folder), error)
    room = WorkerRoom(Progress(database, worker="worker-0"), process)
    with pytest.raises(type(error)):
        asyncio.run(room.plan(job.id))
    record = ledger.get(job.id, owner="local").error
    database.close()
    assert record is not None
    return record, process.asked


def test_an_unforeseen_error_is_logged_once_and_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line with the stack trace; the job's record names neither message nor path."""
    with caplog.at_level(logging.ERROR, logger="levelset.worker"):
        record, _ = failed_job(tmp_path, RuntimeError("/secret/path"))
    assert [entry.exc_info is not None for entry in caplog.records] == [True]
    assert (record["code"], record["retryable"]) == ("internal", True)
    assert "secret" not in record["message"]


@pytest.mark.parametrize(("code", "tries"), [("invalid", 1), ("internal", TRIES)])
def test_only_what_may_pass_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str, tries: int
) -> None:
    """A shard whose input is at fault fails at once, any other after three tries; each is one error in the log."""
    with caplog.at_level(logging.ERROR, logger="levelset.worker"):
        record, asked = failed_job(tmp_path, ShardFailed(code, "expected this, got that"))
    assert asked == tries
    assert record == {"code": code, "message": "expected this, got that", "retryable": code != "invalid"}
    assert len(caplog.records) == 1
