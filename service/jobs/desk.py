"""Where jobs are handed in: everything that can be refused is refused here, before the engine sees the job."""

import shutil
import threading

from service.errors import Overloaded, StateConflict
from service.jobs.ledger import Created, IdempotencyKey, JobLedger, NewJob
from service.jobs.orders import AnyJob
from service.jobs.reconcile import Reconciler
from service.jobs.resolving import Resolver
from service.jobs.states import STOPPABLE, JobState, Mark
from service.settings import Settings
from service.store.tables import Job

DISK_RETRY = 300  # seconds after which a full disk may have been emptied


class JobDesk:
    """Accepts, stops and resumes jobs.

    Args:
        settings: limits and folders.
        ledger: the job rows.
        reconciler: tells the engine at once what the rows say.
        resolver: looks up what jobs name.
    """

    def __init__(self, settings: Settings, ledger: JobLedger, reconciler: Reconciler, resolver: Resolver) -> None:
        self._settings = settings
        self._ledger = ledger
        self._reconciler = reconciler
        self._resolver = resolver
        self._sweep = threading.Lock()

    def submit(self, job: AnyJob, *, owner: str, key: IdempotencyKey | None) -> Created:
        """Return the written job after the engine has heard of it.

        Raises:
            UnprocessableRequest: it names what is not there, or asks for more than there is.
            IdempotencyConflict: the key came with another body.
            Overloaded: too many jobs are unfinished, or the disk is nearly full.
        """
        self.refuse_full_disk()
        found = self._resolver.resolve(job)
        new = NewJob(owner, job.type, found.spec, job.metadata, job.priority, job.max_seconds, found.notices)
        created = self._ledger.create(new, key)
        self.sweep()
        return created

    def cancel(self, job_id: str, *, owner: str) -> tuple[Job, bool]:
        """Return the job and whether it still has to stop; cancelling twice is harmless.

        Raises:
            NotFound: this owner has no such job.
            StateConflict: it is over.
        """
        job = self._ledger.get(job_id, owner=owner)
        if job.state in (JobState.CANCELLED, JobState.CANCELLING):
            return job, job.state == JobState.CANCELLING
        self._stop(job, Mark.CANCEL, JobState.CANCELLING, STOPPABLE | {JobState.PAUSING})
        return self._ledger.get(job_id, owner=owner), True

    def pause(self, job_id: str, *, owner: str) -> Job:
        """Return the job, which stops and keeps its committed shards.

        Raises:
            NotFound: this owner has no such job.
            StateConflict: it neither waits nor runs.
        """
        job = self._ledger.get(job_id, owner=owner)
        if job.state not in (JobState.PAUSED, JobState.PAUSING):
            self._stop(job, Mark.PAUSE, JobState.PAUSING, frozenset({JobState.QUEUED, JobState.RUNNING}))
        return self._ledger.get(job_id, owner=owner)

    def resume(self, job_id: str, *, owner: str) -> Job:
        """Return the paused job, which waits for a worker again.

        Raises:
            NotFound: this owner has no such job.
            StateConflict: it is not paused.
        """
        self._ledger.get(job_id, owner=owner)
        job = self._ledger.resume(job_id)
        self.sweep()
        return job

    def retry(self, job_id: str, *, owner: str) -> Job:
        """Return the failed or cancelled job, which waits for a worker again; its committed shards are kept.

        Raises:
            NotFound: this owner has no such job.
            StateConflict: it neither failed nor was cancelled.
            Overloaded: too many jobs are unfinished, or the disk is nearly full.
        """
        self._ledger.get(job_id, owner=owner)
        self.refuse_full_disk()
        self._ledger.retry(job_id)
        self.sweep()
        return self._ledger.get(job_id, owner=owner)

    def delete(self, job_id: str, *, owner: str) -> None:
        """Forget a job that is over; its report stays.

        Raises:
            NotFound: this owner has no such job.
            StateConflict: it is not over.
        """
        self._ledger.get(job_id, owner=owner)
        self._ledger.delete(job_id)

    def refuse_full_disk(self) -> None:
        """Return nothing while there is room for what a job writes.

        Raises:
            Overloaded: less than the floor of the settings is free.
        """
        free, floor = shutil.disk_usage(self._settings.data).free, self._settings.disk_floor
        if free < floor:
            raise Overloaded(
                f"disk: expected at least {floor} bytes free for new work, got {free}; delete old jobs, or lower "
                "LEVELSET_DISK_FLOOR",
                retry_after=DISK_RETRY,
            )

    def sweep(self) -> None:
        """Reconcile rows and engine; a sweep under way is waited for, so that this call sees its own job handled."""
        with self._sweep:
            self._reconciler.sweep()

    def _stop(self, job: Job, mark: Mark, state: JobState, allowed: frozenset[JobState]) -> None:
        if JobState(job.state) not in allowed:
            raise StateConflict(
                f"job {job.id}: expected one of {sorted(allowed)}, got {job.state!r}; it cannot {mark.value}"
            )
        self._ledger.mark(job.id, mark, state)
        self.sweep()
