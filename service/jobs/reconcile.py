"""Feeds the engine's status into the job rows and hands it what was written but not queued."""

import logging
from collections.abc import Sequence
from typing import Any

from service.errors import StateConflict
from service.jobs.engine import EngineJob, JobEngine, Submission, workflow_id
from service.jobs.ledger import JobLedger
from service.jobs.states import EngineStatus, JobState, Mark, state_of
from service.jobs.takeover import Takeover
from service.store.clock import now
from service.store.tables import Job

LOG = logging.getLogger("levelset.jobs")


class Reconciler:
    """One sweep over the unfinished jobs; repeated by the web process.

    Args:
        ledger: the rows, which own the state.
        engine: what runs the workflows.
        cancel_grace: seconds a shard in flight gets to stop before its job is moved on.
        takeover: hands on the jobs of lost workers; None where there is only one.
    """

    def __init__(
        self, ledger: JobLedger, engine: JobEngine, *, cancel_grace: float, takeover: Takeover | None = None
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._takeover = takeover
        self._grace = int(cancel_grace * 1_000_000)

    def sweep(self) -> None:
        """Queue, stop or move every job whose row and engine disagree; one bad job holds up no other."""
        jobs = self._ledger.unsettled()
        self._hand_over(jobs)
        known = self._engine.list(_workflow(job) for job in jobs)
        for job in jobs:
            try:
                self._settle(job, known.get(_workflow(job)))
            except StateConflict:
                continue  # it moved between the two looks; the next sweep sees it
            except Exception:
                LOG.exception("job %s could not be reconciled", job.id)

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        if self._takeover is None:
            return
        try:
            self._takeover.sweep({_workflow(job): job.id for job in jobs})
        except Exception:
            LOG.exception("the jobs of lost workers could not be handed over; the next sweep tries again")

    def _settle(self, job: Job, seen: EngineJob | None) -> None:
        if seen is None:
            self._submit(job)
        elif job.state == JobState.QUEUED and job.enqueued_at is None and seen.status is EngineStatus.STOPPED:
            self._engine.resume(_workflow(job))
            self._ledger.set_enqueued(job.id)
        elif _is_late(job):
            self._ledger.mark(job.id, Mark.TIMEOUT, JobState.CANCELLING)
            self._engine.cancel(_workflow(job))
        elif job.mark is not None and seen.status in (EngineStatus.QUEUED, EngineStatus.RUNNING):
            self._engine.cancel(_workflow(job))  # the mark was written, the engine had not heard
        elif seen.status not in (EngineStatus.QUEUED, EngineStatus.RUNNING) and not self._is_stopping(job):
            self._finish(job, seen)

    def _submit(self, job: Job) -> None:
        if job.mark is not None:
            self._ledger.move(job.id, state_of(EngineStatus.STOPPED, Mark(job.mark)))
            return
        self._engine.submit(Submission(_workflow(job), job.id, job.priority))
        self._ledger.set_enqueued(job.id)

    def _is_stopping(self, job: Job) -> bool:
        return job.in_flight is not None and job.marked_at is not None and now() - job.marked_at < self._grace

    def _finish(self, job: Job, seen: EngineJob) -> None:
        mark = Mark(job.mark) if job.mark is not None else None
        self._ledger.move(job.id, state_of(seen.status, mark), error=_error(seen, mark, job))


def _workflow(job: Job) -> str:
    return workflow_id(job.id, job.run)


def _is_late(job: Job) -> bool:
    running = job.state == JobState.RUNNING and job.started_at is not None and job.max_seconds is not None
    return running and now() - (job.started_at or 0) > (job.max_seconds or 0) * 1_000_000


def _error(seen: EngineJob, mark: Mark | None, job: Job) -> dict[str, Any] | None:
    if mark is Mark.TIMEOUT:
        message = f"the job ran longer than max_seconds = {job.max_seconds}; allow more or judge fewer samples"
        return {"code": "timeout", "message": message, "retryable": True}
    if seen.status in (EngineStatus.FAILED, EngineStatus.EXHAUSTED):
        return {
            "code": "engine",
            "message": "the workflow ended with an error; the worker's log has the reason",
            "retryable": True,
        }
    return None
