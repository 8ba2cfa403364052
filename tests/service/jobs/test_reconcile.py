"""The sweep: what was written but not queued is queued, what the engine ended is ended, late jobs are stopped.

The engine here is a dictionary, so that every status can be had at will; the real one runs in the integration tests.
Seen to fail: a stopped job moved on while its shard was in flight; a resumed job cancelled because the engine lagged.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.jobs.engine import EngineJob, JobEngine, Submission
from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import Progress
from service.jobs.reconcile import Reconciler
from service.jobs.states import EngineStatus, JobState, Mark
from service.store.database import Database, migrate


class TableEngine:
    """An engine whose statuses a test sets."""

    def __init__(self) -> None:
        self.statuses: dict[str, EngineStatus] = {}
        self.resumed: list[str] = []

    def submit(self, submission: Submission) -> None:
        """Queue the job."""
        self.statuses.setdefault(submission.workflow_id, EngineStatus.QUEUED)

    def get(self, job_id: str) -> EngineJob | None:
        """Return the job."""
        return self.list([job_id]).get(job_id)

    def list(self, job_ids: Iterable[str]) -> Mapping[str, EngineJob]:
        """Return these jobs."""
        return {job_id: EngineJob(job_id, self.statuses[job_id]) for job_id in job_ids if job_id in self.statuses}

    def held_by(self, worker: str) -> Sequence[str]:
        """Return what runs."""
        return [job_id for job_id, status in self.statuses.items() if status is EngineStatus.RUNNING]

    def cancel(self, job_id: str) -> None:
        """Stop the job."""
        self.statuses[job_id] = EngineStatus.STOPPED

    pause = cancel

    def resume(self, job_id: str) -> None:
        """Queue the job again."""
        self.resumed.append(job_id)
        self.statuses[job_id] = EngineStatus.QUEUED

    def events(self, job_id: str) -> Sequence[Mapping[str, Any]]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Do nothing."""


class Room:
    """A ledger, its worker's pen, an engine and the sweep between them."""

    def __init__(self, folder: Path, cancel_grace: float = 5.0) -> None:
        url = f"sqlite:///{folder / 'jobs.sqlite'}"
        migrate(url)
        self.database = Database(url)
        self.ledger = JobLedger(self.database, max_open=10)
        self.progress = Progress(self.database, worker="w")
        self.engine = TableEngine()
        engine: JobEngine = self.engine
        self.reconciler = Reconciler(self.ledger, engine, cancel_grace=cancel_grace)

    def create(self, max_seconds: int | None = None) -> str:
        """Return the id of a new job."""
        return self.ledger.create(NewJob("local", "evaluate", {}, {}, 1, max_seconds)).job.id

    def state(self, job_id: str) -> str:
        """Return the state after a sweep."""
        self.reconciler.sweep()
        return self.ledger.get(job_id, owner="local").state

    def run(self, job_id: str) -> None:
        """Let the engine start the job."""
        self.reconciler.sweep()
        self.engine.statuses[job_id] = EngineStatus.RUNNING
        self.progress.planned(job_id, shards=1, samples=1)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Return an empty room."""
    return Room(tmp_path)


def test_written_jobs_are_queued_once(room: Room) -> None:
    """A job the engine has not heard of is submitted by the next sweep, with a time."""
    job_id = room.create()
    assert room.state(job_id) == "queued"
    assert room.engine.statuses == {job_id: EngineStatus.QUEUED}
    assert room.ledger.get(job_id, owner="local").enqueued_at is not None


@pytest.mark.parametrize("status", [EngineStatus.FAILED, EngineStatus.EXHAUSTED])
def test_an_ended_workflow_ends_the_job(room: Room, status: EngineStatus) -> None:
    """An error the worker could not write down is written by the sweep."""
    job_id = room.create()
    room.run(job_id)
    room.engine.statuses[job_id] = status
    assert room.state(job_id) == "failed"
    error = room.ledger.get(job_id, owner="local").error
    assert error is not None
    assert error["code"] == "engine"


def test_a_mark_reaches_the_engine_even_after_a_crash(room: Room) -> None:
    """A cancel that was written but not told is told by the sweep, then completed."""
    job_id = room.create()
    room.run(job_id)
    room.ledger.mark(job_id, Mark.CANCEL, JobState.CANCELLING)
    assert room.state(job_id) == "cancelling"
    assert room.engine.statuses[job_id] is EngineStatus.STOPPED
    assert room.state(job_id) == "cancelled"


def test_a_shard_in_flight_gets_its_grace(tmp_path: Path) -> None:
    """A stopped job stays `cancelling` while its shard is in flight, but not for ever."""
    room = Room(tmp_path)
    job_id = room.create()
    room.run(job_id)
    room.progress.begin(job_id, "a" * 64)
    room.ledger.mark(job_id, Mark.CANCEL, JobState.CANCELLING)
    room.engine.cancel(job_id)
    assert room.state(job_id) == "cancelling"
    impatient = Reconciler(room.ledger, room.engine, cancel_grace=0.0)
    impatient.sweep()
    assert room.ledger.get(job_id, owner="local").state == "cancelled"


def test_pause_and_resume(room: Room) -> None:
    """A paused job rests until it is resumed, and the engine is told by the sweep."""
    job_id = room.create()
    room.run(job_id)
    room.ledger.mark(job_id, Mark.PAUSE, JobState.PAUSING)
    room.engine.pause(job_id)
    assert room.state(job_id) == "paused"
    assert room.state(job_id) == "paused"
    room.ledger.resume(job_id)
    assert room.state(job_id) == "queued"
    assert room.engine.resumed == [job_id]
    assert room.state(job_id) == "queued"
    assert room.engine.resumed == [job_id]


def test_a_job_past_its_time_fails(room: Room) -> None:
    """`max_seconds` counts from the start and ends in code `timeout`."""
    job_id = room.create(max_seconds=0)
    room.run(job_id)
    room.state(job_id)
    assert room.state(job_id) == "failed"
    error = room.ledger.get(job_id, owner="local").error
    assert error is not None
    assert error["code"] == "timeout"
