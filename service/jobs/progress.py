"""What a worker writes about a job while it runs: planned, shard in flight, shard committed, report, failure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.errors import JobStopped, Nondeterministic, PoisonedShard
from service.jobs.fencing import Fence, LeaseLost, NoFence
from service.jobs.ledger import add_event, locked, move
from service.jobs.states import TERMINAL, JobState
from service.jobs.tallies import ShardOutcome, count_lease_lost, count_seconds, count_shard
from service.store.clock import now
from service.store.database import Database
from service.store.tables import Job, JobFile, Report, Shard

MAX_DEATHS: Final = 3
_LEFT_BEHIND: Final = (JobState.RUNNING.value, JobState.CANCELLING.value, JobState.PAUSING.value)


@dataclass(frozen=True, slots=True)
class CommittedShard:
    """What is remembered of a finished shard besides its artifact.

    Attributes:
        key: of the shard.
        digest: of its result, seconds left out.
        samples: points it worked on.
        cached: whether its result was found, not computed.
        title: one line for people.
        attack: what ran, from the names of the suite; None for work that is no attack.
        seconds: it took, if it was computed.
    """

    key: str
    digest: str
    samples: int
    cached: bool
    title: str
    attack: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NewReport:
    """A written report: what its row holds."""

    digest: str
    status: str
    summary: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that a job leaves behind; its bytes are stored under their digest."""

    name: str
    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished job made.

    Attributes:
        report: of an evaluation.
        result: whatever else it made, in small JSON values.
        files: what can be fetched.
    """

    report: NewReport | None = None
    result: Mapping[str, Any] | None = None
    files: tuple[NewFile, ...] = ()


class Progress:
    """The worker's pen; every method is one transaction and may be repeated.

    Args:
        database: where the job rows lie.
        worker: name of this worker's slot.
        fence: knows whether the work at hand still owns its job.
    """

    def __init__(self, database: Database, *, worker: str, fence: Fence | None = None) -> None:
        self._database = database
        self._worker = worker
        self._fence = NoFence() if fence is None else fence

    def spec(self, job_id: str) -> dict[str, Any]:
        """Return the specification of the job."""
        with self._database.read() as session:
            return dict(session.get_one(Job, job_id).spec)

    def recover(self) -> Sequence[str]:
        """Return the jobs a dead worker left running, their attempt raised; called before a worker takes work."""
        with self._database.write() as session:
            left = session.scalars(select(Job).where(Job.worker == self._worker, Job.state.in_(_LEFT_BEHIND)))
            return [_resume(session, job) for job in left.all()]

    def leave(self) -> None:
        """Note that no shard of this worker is in flight, since it stops in good order."""
        with self._database.write() as session:
            for job in session.scalars(select(Job).where(Job.worker == self._worker, Job.in_flight.is_not(None))):
                job.in_flight = None

    def planned(self, job_id: str, *, shards: int, samples: int, plan: str | None = None) -> None:
        """Note the size of the job, the digest of the list of its shards, and that it runs.

        Raises:
            JobStopped: the job was cancelled or paused.
            LeaseLost: another worker has it.
        """
        with self._database.write() as session:
            job = self._held(session, job_id)
            job.worker = self._worker
            job.shards_total, job.samples_total, job.plan = shards, samples, plan
            if job.state == JobState.QUEUED:
                move(session, job, JobState.RUNNING)
            add_event(session, job, "log", {"message": f"planned {shards} shards"})

    def begin(self, job_id: str, key: str) -> None:
        """Note that the shard is in flight.

        Raises:
            PoisonedShard: the workers died three times in a row with a shard of this job in flight.
            JobStopped: the job was cancelled or paused.
            LeaseLost: another worker has it.
        """
        with self._database.write() as session:
            job = self._held(session, job_id)
            if job.deaths >= MAX_DEATHS:
                raise PoisonedShard(
                    f"shard {key[:12]}: its worker died {job.deaths} times in a row; lower `block` or give the worker "
                    "more memory"
                )
            if job.state == JobState.QUEUED:  # resumed after a pause
                move(session, job, JobState.RUNNING)
            job.in_flight, job.worker = key, self._worker

    def release(self, job_id: str, key: str) -> None:
        """Note that the shard is in flight no more, whatever became of it; what another worker has is left alone."""
        with self._database.write() as session:
            job = locked(session, job_id)
            if (job.worker, job.in_flight) == (self._worker, key):
                job.in_flight = None

    def count(self, outcome: ShardOutcome) -> None:
        """Count a shard that was tried again or given up; finished ones are counted where they are committed."""
        with self._database.write() as session:
            count_shard(session, outcome)

    def lost(self) -> None:
        """Count a result that was dropped since another worker has the job."""
        with self._database.write() as session:
            count_lease_lost(session)

    def commit(self, job_id: str, shard: CommittedShard) -> None:
        """Write the finished shard, once.

        Raises:
            Nondeterministic: it was committed before with another result.
            JobStopped: the job was cancelled or paused.
            LeaseLost: another worker has it.
        """
        with self._database.write() as session:
            job = self._held(session, job_id)
            job.in_flight, job.deaths = None, 0
            earlier = session.get(Shard, (job_id, shard.key))
            if earlier is not None and earlier.digest != shard.digest:
                raise Nondeterministic(
                    f"{shard.title}: expected the result {earlier.digest[:12]} that was committed before, got "
                    f"{shard.digest[:12]}; the same work gave two answers, so no report can be trusted"
                )
            if earlier is not None:
                return
            session.add(
                Shard(
                    job_id=job_id,
                    key=shard.key,
                    digest=shard.digest,
                    samples=shard.samples,
                    cached=shard.cached,
                    finished_at=now(),
                )
            )
            session.flush()
            _count(session, shard)
            done = session.scalar(select(func.count()).select_from(Shard).where(Shard.job_id == job_id))
            data = {"shards_done": done, "shards_total": job.shards_total, "title": shard.title, "cached": shard.cached}
            add_event(session, job, "progress", data)

    def succeeded(self, job_id: str, outcome: Outcome) -> str | None:
        """Return the id of the report, if there is one; it is written together with the job's last move."""
        with self._database.write() as session:
            job = self._held(session, job_id)
            if outcome.report is not None:
                job.report_id = _write_report(session, job, outcome.report)
            job.result = None if outcome.result is None else dict(outcome.result)
            for file in outcome.files:
                _write_file(session, job_id, file)
            if job.state != JobState.SUCCEEDED:
                move(session, job, JobState.SUCCEEDED)
            return job.report_id

    def failed(self, job_id: str, *, code: str, message: str) -> None:
        """Write why the job ended, unless it is over already or another worker has it."""
        with self._database.write() as session:
            job = locked(session, job_id)
            if JobState(job.state) not in TERMINAL and self._fence.holds(session):
                move(
                    session,
                    job,
                    JobState.FAILED,
                    error={"code": code, "message": message, "retryable": code != "invalid"},
                )

    def _held(self, session: Session, job_id: str) -> Job:
        job = locked(session, job_id)
        if job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED):
            raise JobStopped(f"job {job_id}: expected it to be running, got {job.state!r}; the result is dropped")
        if not self._fence.holds(session):
            raise LeaseLost(
                f"job {job_id}: expected it to be ours, got that another worker has it; the result is dropped"
            )
        return job


def _count(session: Session, shard: CommittedShard) -> None:
    count_shard(session, ShardOutcome.CACHED if shard.cached else ShardOutcome.COMPUTED)
    if shard.attack is not None and not shard.cached:
        count_seconds(session, shard.attack, shard.seconds)


def _write_report(session: Session, job: Job, report: NewReport) -> str:
    report_id = "report-" + job.id.removeprefix("job-")
    if session.get(Report, report_id) is None:
        session.add(
            Report(
                id=report_id,
                owner=job.owner,
                job_id=job.id,
                digest=report.digest,
                status=report.status,
                summary=dict(report.summary),
                files=dict(report.files),
                created_at=now(),
            )
        )
    return report_id


def _write_file(session: Session, job_id: str, file: NewFile) -> None:
    if session.get(JobFile, (job_id, file.name)) is None:
        session.add(
            JobFile(
                job_id=job_id,
                name=file.name,
                sha256=file.sha256,
                size=file.size,
                media_type=file.media_type,
                created_at=now(),
            )
        )


def _resume(session: Session, job: Job) -> str:
    job.attempt += 1
    if job.in_flight is not None:
        job.deaths += 1
        count_shard(session, ShardOutcome.RETRIED)
    job.in_flight = None
    add_event(session, job, "log", {"message": "the worker came back", "attempt": job.attempt}, level="warning")
    return job.id
