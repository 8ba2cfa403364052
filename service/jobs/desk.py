"""Where jobs are handed in: everything that can be refused is refused here, before the engine sees the job."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attacks.suites import SUITES
from ensemble.errors import ArtifactError, InputError, UnknownName
from service.catalogue.model_info import ModelInfo
from service.catalogue.repository import ModelRepository
from service.errors import StateConflict, UnprocessableRequest
from service.jobs import data_sets
from service.jobs.ledger import Created, IdempotencyKey, JobLedger, NewJob
from service.jobs.reconcile import Reconciler
from service.jobs.specs import EvaluateJob
from service.jobs.states import STOPPABLE, JobState, Mark
from service.settings import Settings
from service.store.tables import Job

Found = TypeVar("Found")


class JobDesk:
    """Accepts, stops and resumes jobs.

    Args:
        settings: limits and folders.
        ledger: the job rows.
        reconciler: tells the engine at once what the rows say.
        repository: the ensembles a job may name.
        broken: returns `name/version -> reason` of what is stored and could not be loaded.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: JobLedger,
        reconciler: Reconciler,
        repository: ModelRepository,
        *,
        broken: Callable[[], Mapping[str, str]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._reconciler = reconciler
        self._repository = repository
        self._broken = broken
        self._sweep = threading.Lock()
        self._sizes: dict[tuple[str, str], tuple[int, tuple[int, ...], int]] = {}

    def submit(self, job: EvaluateJob, *, owner: str, key: IdempotencyKey | None) -> Created:
        """Return the written job after the engine has heard of it.

        Raises:
            UnprocessableRequest: it names what is not there, or asks for more than there is.
            IdempotencyConflict: the key came with another body.
            Overloaded: too many jobs are unfinished.
        """
        new = NewJob(owner, job.type, self._resolve(job), job.metadata, job.priority, job.max_seconds)
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

    def _resolve(self, job: EvaluateJob) -> Mapping[str, Any]:
        """Return the specification with everything pinned that could change between now and the run."""
        info = self._target(job.target)
        suite = SUITES.get(job.suite.name)
        if suite is None:
            raise UnprocessableRequest(str(UnknownName("suite", job.suite.name, SUITES)), field="suite.name")
        if job.suite.version not in (None, suite.version):
            raise UnprocessableRequest(
                f"suite.version: expected {suite.version!r} or none, got {job.suite.version!r}; leave it out",
                field="suite.version",
            )
        spec = job.what()
        spec["data"]["n"] = self._count(job, info)
        spec["suite"] = {"name": suite.name, "version": suite.version}
        return spec | {"target_version": info.version, "target_digest": info.digest}

    def _target(self, name: str) -> ModelInfo:
        """Return the newest version of an ensemble, which a worker will be able to load as far as is known here."""
        try:
            info = _named("target", lambda: self._repository.info(name))
        except ArtifactError:
            raise _unusable(name, "its record cannot be read") from None
        reason = self._broken().get(f"{info.name}/{info.version}")
        if reason is not None:
            raise _unusable(name, reason)
        return info

    def _count(self, job: EvaluateJob, info: ModelInfo) -> int:
        held, shape, classes = self._size(job.data.name, job.data.split)
        if shape != tuple(info.input_shape) or classes > info.num_classes:
            raise UnprocessableRequest(
                f"data.name: expected inputs {list(info.input_shape)} in {info.num_classes} classes as {job.target!r} "
                f"takes, got {list(shape)} in {classes}; name the data set it was made for",
                field="data.name",
            )
        count = held if job.data.n is None else job.data.n
        limit = min(held, self._settings.max_job_samples)
        if not 1 <= count <= limit:
            raise UnprocessableRequest(
                f"data.n: expected between 1 and {limit} samples of {job.data.name!r} {job.data.split}, got {count}; "
                "ask for fewer, or leave it out for all",
                field="data.n",
            )
        return count

    def _size(self, name: str, split: str) -> tuple[int, tuple[int, ...], int]:
        if (name, split) not in self._sizes:
            dataset = _named("data.name", lambda: data_sets.open_dataset(name, self._settings))
            self._sizes[name, split] = (dataset.size(split), tuple(dataset.input_shape), dataset.num_classes)
        return self._sizes[name, split]


def _unusable(name: str, reason: str) -> UnprocessableRequest:
    return UnprocessableRequest(
        f"target: expected an ensemble that can be loaded, got {name!r}, but {reason}; "
        "restore it from a copy, or build it again",
        field="target",
    )


def _named(field: str, find: Callable[[], Found]) -> Found:
    try:
        return find()
    except UnknownName as error:
        raise UnprocessableRequest(f"{field}: {error}", field=field) from error
    except InputError as error:  # its message may name a folder of this machine
        message = (
            f"{field}: expected one that is installed here, got one whose files are missing or cannot be read; "
            "put them where the operator's settings say, or name another"
        )
        raise UnprocessableRequest(message, field=field) from error
