"""Job rows: idempotent creation, legal moves only, one event per move, what a worker may write.

Seen to fail: the idempotency row written in a transaction of its own; a cancelled job accepting a shard; the counter of
deaths not reset by a committed shard.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import IdempotencyConflict, JobStopped, NotFound, Overloaded, PoisonedShard, StateConflict
from service.jobs.ledger import IdempotencyKey, JobLedger, NewJob
from service.jobs.progress import MAX_DEATHS, CommittedShard, NewReport, Outcome, Progress
from service.jobs.states import JobState, Mark
from service.store.database import Database, migrate
from service.store.reports import ReportShelf

NEW = NewJob("local", "evaluate", {"target": "digits"}, {"note": "<script>"}, 1, None)
REPORT = NewReport("d" * 64, "INCOMPLETE", {"target": "digits"}, {"json": "a" * 64})


@pytest.fixture
def database(store_url: str, tmp_path: Path) -> Iterator[Database]:
    """Yield a migrated database, one of each kind."""
    migrate(store_url, lock=tmp_path / "lock")
    migrate(store_url, lock=tmp_path / "lock")
    database = Database(store_url)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> JobLedger:
    """Return a ledger that takes ten open jobs."""
    return JobLedger(database, max_open=10)


def shard(key: str = "a" * 64) -> CommittedShard:
    """Return a finished shard."""
    return CommittedShard(key, "b" * 64, 32, False, "title")


def states(ledger: JobLedger, job_id: str) -> list[str]:
    """Return the states a job went through, by its events."""
    found = ledger.events(job_id, after=0, limit=200)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    return [event.data["state"] for event in found if event.kind == "state"]


def test_the_whole_way(database: Database, ledger: JobLedger) -> None:
    """Create, plan, commit twice the same shard, report: the row, the counts and the events agree."""
    progress = Progress(database, worker="w")
    job = ledger.create(NEW).job
    progress.planned(job.id, shards=1, samples=32)
    progress.begin(job.id, "a" * 64)
    for _ in range(2):
        progress.commit(job.id, shard())
    for _ in range(2):
        report_id = progress.succeeded(job.id, Outcome(REPORT))
    found = ledger.get(job.id, owner="local")
    assert (found.state, found.report_id, found.in_flight, found.details) == (
        "succeeded",
        report_id,
        None,
        {"note": "<script>"},
    )
    assert ledger.counts([found]) == {job.id: (1, 32)}
    assert states(ledger, job.id) == ["queued", "running", "succeeded"]
    shelf = ReportShelf(database)
    assert shelf.get(report_id, owner="local").digest == REPORT.digest
    assert [report.id for report in shelf.page(owner="local", limit=5)] == [report_id]
    with pytest.raises(NotFound):
        shelf.get(report_id, owner="other")
    with pytest.raises(StateConflict):
        ledger.mark(job.id, Mark.CANCEL, JobState.CANCELLING)


def test_the_same_key_gives_the_same_job(ledger: JobLedger) -> None:
    """A repeated key replays, with another body it conflicts, another route is another key."""
    key = IdempotencyKey("POST /jobs", "k", "1")
    first, again = ledger.create(NEW, key), ledger.create(NEW, key)
    assert (first.replayed, again.replayed, again.job.id) == (False, True, first.job.id)
    with pytest.raises(IdempotencyConflict):
        ledger.create(NEW, IdempotencyKey("POST /jobs", "k", "2"))
    assert not ledger.create(NEW, IdempotencyKey("POST /other", "k", "2")).replayed
    assert len(ledger.page(owner="local", limit=10)) == 2


def test_two_first_posts_at_once_make_one_job(ledger: JobLedger) -> None:
    """Simultaneous creations under one key end in one job and one conflict for the other body."""
    outcomes: list[object] = []
    barrier = threading.Barrier(6)

    def post(body: str) -> None:
        barrier.wait()
        try:
            outcomes.append(ledger.create(NEW, IdempotencyKey("r", "k", body)).job.id)
        except IdempotencyConflict as error:
            outcomes.append(error)

    threads = [threading.Thread(target=post, args=(body,)) for body in "111222"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert (len(made), len(set(made)), len(outcomes)) == (3, 1, 6)
    assert len(ledger.page(owner="local", limit=10)) == 1


def test_pages_neither_repeat_nor_skip(ledger: JobLedger) -> None:
    """Walking with a position sees every older job once while new ones arrive."""
    old = [ledger.create(NEW).job.id for _ in range(5)]
    seen: list[str] = []
    position = None
    while page := ledger.page(owner="local", limit=2, before=position):
        seen += [job.id for job in page]
        position = (page[-1].created_at, page[-1].id)
        if len(ledger.page(owner="local", limit=20)) < 8:
            ledger.create(NEW)
    assert seen[-5:] == old[::-1] or sorted(seen) == sorted(old)
    assert len(seen) == len(set(seen))


def test_too_many_open_jobs_are_refused(ledger: JobLedger) -> None:
    """The limit counts unfinished jobs, and a finished one makes room."""
    jobs = [ledger.create(NEW).job for _ in range(10)]
    with pytest.raises(Overloaded):
        ledger.create(NEW)
    ledger.move(jobs[0].id, JobState.CANCELLED)
    ledger.create(NEW)


@pytest.mark.parametrize("mark", [Mark.CANCEL, Mark.PAUSE])
def test_a_stopped_job_takes_nothing(database: Database, ledger: JobLedger, mark: Mark) -> None:
    """A worker that did not notice a stop writes neither shard nor report."""
    progress = Progress(database, worker="w")
    job = ledger.create(NEW).job
    progress.planned(job.id, shards=1, samples=32)
    ledger.mark(job.id, mark, JobState.CANCELLING if mark is Mark.CANCEL else JobState.PAUSING)
    for write in (
        lambda: progress.begin(job.id, "a" * 64),
        lambda: progress.commit(job.id, shard()),
        lambda: progress.succeeded(job.id, Outcome(REPORT)),
    ):
        with pytest.raises(JobStopped):
            write()
    assert ledger.counts([job]) == {}


def test_a_shard_that_kills_its_worker_is_given_up(database: Database, ledger: JobLedger) -> None:
    """Three deaths in a row with a shard in flight end the job; a committed shard in between starts the count again."""
    progress = Progress(database, worker="w")
    job = ledger.create(NEW).job
    progress.planned(job.id, shards=2, samples=64)
    for _ in range(MAX_DEATHS - 1):
        progress.begin(job.id, "a" * 64)
        assert progress.recover() == [job.id]
    progress.begin(job.id, "a" * 64)
    progress.commit(job.id, shard())
    for _ in range(MAX_DEATHS):
        progress.begin(job.id, "c" * 64)
        assert Progress(database, worker="another").recover() == []
        assert progress.recover() == [job.id]
    with pytest.raises(PoisonedShard, match="died 3 times"):
        progress.begin(job.id, "c" * 64)
    progress.failed(job.id, code="poison", message="m")
    progress.failed(job.id, code="other", message="n")
    found = ledger.get(job.id, owner="local")
    assert (found.state, found.error and found.error["code"], found.attempt) == (
        "failed",
        "poison",
        1 + 2 * MAX_DEATHS - 1,
    )


def test_an_orderly_stop_counts_no_death(database: Database, ledger: JobLedger) -> None:
    """A worker that leaves in good order releases its shard."""
    progress = Progress(database, worker="w")
    job = ledger.create(NEW).job
    progress.planned(job.id, shards=1, samples=32)
    progress.begin(job.id, "a" * 64)
    progress.leave()
    progress.recover()
    assert ledger.get(job.id, owner="local").deaths == 0
