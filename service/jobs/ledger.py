"""The job rows: creating, reading and moving them; every move emits one event in the same transaction."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.orm import Session

from service.errors import IdempotencyConflict, NotFound, Overloaded, StateConflict
from service.jobs.states import OPEN, RETRIABLE, TERMINAL, JobState, Mark, may_move
from service.jobs.tallies import JobNumbers, read_numbers
from service.store.canonical import digest
from service.store.clock import now
from service.store.database import Database
from service.store.tables import Event, Idempotency, Job, JobFile, Shard

IDEMPOTENCY_SECONDS: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated job, ready to be written."""

    owner: str
    type: str
    spec: Mapping[str, Any]
    metadata: Mapping[str, Any]
    priority: int
    max_seconds: int | None
    notices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a creating POST with the digest of its body."""

    route: str
    key: str
    body_digest: str


@dataclass(frozen=True, slots=True)
class Created:
    """A job and whether an earlier request had made it."""

    job: Job
    replayed: bool


class JobLedger:
    """Reads and moves job rows.

    Args:
        database: where the rows lie.
        max_open: unfinished jobs above which new ones are refused.
        max_open_per_owner: the same of one owner; as many as all when None.
    """

    def __init__(self, database: Database, *, max_open: int, max_open_per_owner: int | None = None) -> None:
        self._database = database
        self._max_open = max_open
        self._max_open_per_owner = max_open if max_open_per_owner is None else max_open_per_owner

    def create(self, new: NewJob, key: IdempotencyKey | None = None) -> Created:
        """Return the written job; with a key seen before, the job of that time.

        Raises:
            IdempotencyConflict: the key came with another body.
            Overloaded: too many jobs are unfinished.
        """
        with self._database.write() as session:
            if key is not None and (earlier := _replay(session, new.owner, key)) is not None:
                return Created(earlier, replayed=True)
            self._refuse_flood(session, new.owner)
            job = _row(new)
            session.add(job)
            session.flush()
            if key is not None:
                session.add(_remember(new.owner, key, job))
            add_event(session, job, "state", {"from": None, "to": job.state, "state": job.state})
            for code, message in new.notices.items():
                add_event(session, job, "log", {"message": message, "code": code}, level="warning")
            return Created(job, replayed=False)

    def get(self, job_id: str, *, owner: str) -> Job:
        """Return the job.

        Raises:
            NotFound: this owner has no such job.
        """
        with self._database.read() as session:
            job = session.get(Job, job_id)
            if job is None or job.owner != owner:
                raise unknown_job(job_id)
            session.expunge(job)
            return job

    def page(
        self,
        *,
        owner: str,
        limit: int,
        before: tuple[int, str] | None = None,
        state: str | None = None,
        kind: str | None = None,
    ) -> Sequence[Job]:
        """Return up to `limit` jobs, newest first, older than `before` (created_at, id)."""
        query = select(Job).where(Job.owner == owner).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
        if before is not None:
            query = query.where(tuple_(Job.created_at, Job.id) < before)
        if state is not None:
            query = query.where(Job.state == state)
        if kind is not None:
            query = query.where(Job.type == kind)
        with self._database.read() as session:
            jobs = session.scalars(query).all()
            session.expunge_all()
            return jobs

    def counts(self, jobs: Sequence[Job]) -> Mapping[str, tuple[int, int]]:
        """Return for each job id its committed shards and their samples."""
        query = (
            select(Shard.job_id, func.count(), func.coalesce(func.sum(Shard.samples), 0))
            .where(Shard.job_id.in_([job.id for job in jobs]))
            .group_by(Shard.job_id)
        )
        with self._database.read() as session:
            return {job_id: (int(shards), int(samples)) for job_id, shards, samples in session.execute(query)}

    def events(self, job_id: str, *, after: int, limit: int) -> Sequence[Event]:
        """Return up to `limit` events of the job with a sequence number above `after`, oldest first."""
        query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit)
        with self._database.read() as session:
            events = session.scalars(query).all()
            session.expunge_all()
            return events

    def unsettled(self) -> Sequence[Job]:
        """Return every job that is neither finished nor paused, oldest first."""
        query = select(Job).where(Job.state.in_(sorted(OPEN - {JobState.PAUSED}))).order_by(Job.created_at)
        with self._database.read() as session:
            jobs = session.scalars(query).all()
            session.expunge_all()
            return jobs

    def set_enqueued(self, job_id: str) -> None:
        """Note that the engine has the job."""
        with self._database.write() as session:
            job = session.get_one(Job, job_id)
            job.enqueued_at = job.enqueued_at or now()

    def mark(self, job_id: str, mark: Mark, state: JobState) -> Job:
        """Return the job after writing why it is about to be stopped.

        Raises:
            StateConflict: its state forbids the move.
        """
        with self._database.write() as session:
            job = locked(session, job_id)
            move(session, job, state)
            job.mark, job.marked_at = mark.value, now()
            return job

    def move(self, job_id: str, state: JobState, *, error: Mapping[str, Any] | None = None) -> Job:
        """Return the job in its new state; being there already changes nothing.

        Raises:
            StateConflict: its state forbids the move.
        """
        with self._database.write() as session:
            job = locked(session, job_id)
            if job.state != state:
                move(session, job, state, error=error)
            return job

    def resume(self, job_id: str) -> Job:
        """Return the paused job, waiting for a worker again.

        Raises:
            StateConflict: it is not paused.
        """
        with self._database.write() as session:
            job = locked(session, job_id)
            if job.state != JobState.PAUSED:
                raise StateConflict(f"job {job.id}: expected a paused one, got {job.state!r}; retry those that ended")
            move(session, job, JobState.QUEUED)
            return job

    def retry(self, job_id: str) -> Job:
        """Return the failed or cancelled job, waiting for a worker again; its committed shards are kept.

        Raises:
            StateConflict: it neither failed nor was cancelled.
            Overloaded: too many jobs are unfinished.
        """
        with self._database.write() as session:
            job = locked(session, job_id)
            if JobState(job.state) not in RETRIABLE:
                raise StateConflict(f"job {job.id}: expected one that failed or was cancelled, got {job.state!r}")
            self._refuse_flood(session, job.owner)
            move(session, job, JobState.QUEUED)
            job.run, job.attempt, job.deaths = job.run + 1, job.attempt + 1, 0
            job.error = job.started_at = job.finished_at = None
            return job

    def delete(self, job_id: str) -> None:
        """Forget a job that is over, with its shards, events and list of files; a report stays.

        Raises:
            StateConflict: it is not over.
        """
        with self._database.write() as session:
            job = locked(session, job_id)
            if JobState(job.state) not in TERMINAL:
                raise StateConflict(f"job {job.id}: expected one that is over, got {job.state!r}; cancel it first")
            session.execute(delete(Idempotency).where(Idempotency.job_id == job_id))
            session.delete(job)

    def files(self, job_id: str) -> Sequence[JobFile]:
        """Return the files that the job left behind, by name."""
        query = select(JobFile).where(JobFile.job_id == job_id).order_by(JobFile.name)
        with self._database.read() as session:
            files = session.scalars(query).all()
            session.expunge_all()
            return files

    def shard_keys(self, job_id: str) -> Sequence[str]:
        """Return the keys of the committed shards of the job, oldest first."""
        query = select(Shard.key).where(Shard.job_id == job_id).order_by(Shard.finished_at, Shard.key)
        with self._database.read() as session:
            return session.scalars(query).all()

    def open_jobs(self, kind: str) -> Sequence[Job]:
        """Return every unfinished job of a type, newest first, whoever owns it."""
        query = select(Job).where(Job.type == kind, Job.state.in_(sorted(OPEN))).order_by(Job.created_at.desc())
        with self._database.read() as session:
            jobs = session.scalars(query).all()
            session.expunge_all()
            return jobs

    def numbers(self) -> JobNumbers:
        """Return how many jobs are in each state, and what the workers counted."""
        with self._database.read() as session:
            return read_numbers(session)

    def _refuse_flood(self, session: Session, owner: str) -> None:
        unfinished = select(func.count()).select_from(Job).where(Job.state.in_(sorted(OPEN)))
        bounds = (
            ("of all owners", self._max_open, unfinished),
            ("of one owner", self._max_open_per_owner, unfinished.where(Job.owner == owner)),
        )
        for whose, bound, query in bounds:
            count = session.scalar(query) or 0
            if count >= bound:
                raise Overloaded(
                    f"jobs: expected fewer than {bound} unfinished {whose}, got {count}; wait for some to end, or "
                    "cancel them",
                    retry_after=30,
                )


def unknown_job(job_id: str) -> NotFound:
    """Return the error for a job that is not there."""
    return NotFound(f"job: expected the id of a stored job, got {job_id[:80]!r}; GET /api/v1/jobs lists them")


def locked(session: Session, job_id: str) -> Job:
    """Return the job, locked until the transaction ends."""
    job = session.get(Job, job_id, with_for_update=True)
    if job is None:
        raise unknown_job(job_id)
    return job


def move(session: Session, job: Job, state: JobState, *, error: Mapping[str, Any] | None = None) -> None:
    """Move the job and write the event of the move.

    Raises:
        StateConflict: its state forbids the move.
    """
    if not may_move(JobState(job.state), state):
        raise StateConflict(f"job {job.id}: expected a state that can become {state.value!r}, got {job.state!r}")
    old, job.state = job.state, state.value
    if state is JobState.RUNNING:
        job.started_at = job.started_at or now()
    if state is JobState.QUEUED:
        job.mark = job.marked_at = job.enqueued_at = None
    if state in TERMINAL:
        job.finished_at, job.in_flight = now(), None
    if error is not None:
        job.error = dict(error)
    told = {"error": dict(error)} if error else {}
    add_event(session, job, "state", {"from": old, "to": job.state, "state": job.state, **told})


def add_event(session: Session, job: Job, kind: str, data: Mapping[str, Any], *, level: str = "info") -> None:
    """Write the next event of a job that this transaction holds."""
    job.last_seq += 1
    session.add(Event(job_id=job.id, seq=job.last_seq, t=now(), level=level, kind=kind, data=dict(data)))


def _row(new: NewJob) -> Job:
    return Job(
        id=f"job-{uuid.uuid4().hex}",
        owner=new.owner,
        type=new.type,
        state=JobState.QUEUED.value,
        spec=dict(new.spec),
        spec_digest=digest(new.spec),
        details=dict(new.metadata),
        priority=new.priority,
        max_seconds=new.max_seconds,
        notices=dict(new.notices) or None,
        run=1,
        attempt=1,
        deaths=0,
        last_seq=0,
        created_at=now(),
    )


def _replay(session: Session, owner: str, key: IdempotencyKey) -> Job | None:
    row = session.get(Idempotency, (owner, key.route, key.key))
    if row is None:
        return None
    if row.created_at < now() - IDEMPOTENCY_SECONDS * 1_000_000:
        session.delete(row)
        session.flush()
        return None
    if row.body_digest != key.body_digest:
        raise IdempotencyConflict("Idempotency-Key: expected the body it came with first, got another; use a new key")
    return session.get(Job, row.job_id)


def _remember(owner: str, key: IdempotencyKey, job: Job) -> Idempotency:
    return Idempotency(
        owner=owner, route=key.route, key=key.key, body_digest=key.body_digest, job_id=job.id, created_at=now()
    )
