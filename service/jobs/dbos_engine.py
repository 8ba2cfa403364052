"""The engine's client in the web process: it queues and stops workflows and never runs one."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions

from service.jobs.engine import EngineJob, Submission
from service.jobs.states import EngineStatus
from service.store.database import exclusive, migrating

APPLICATION: Final = "levelset"
VERSION: Final = "jobs-1"  # raised by hand when the order of steps changes, and only then
WORKFLOW: Final = "evaluate"
QUEUE: Final = "jobs"

STATUS_OF: Final[Mapping[str, EngineStatus]] = {
    "ENQUEUED": EngineStatus.QUEUED,
    "DELAYED": EngineStatus.QUEUED,
    "PENDING": EngineStatus.RUNNING,
    "SUCCESS": EngineStatus.SUCCEEDED,
    "ERROR": EngineStatus.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": EngineStatus.EXHAUSTED,
    "CANCELLED": EngineStatus.STOPPED,
}


def migrate_engine(url: str, *, lock: Path) -> None:
    """Create or migrate the engine's own tables; called in every process before anything else of the engine."""
    logging.getLogger("dbos").setLevel(logging.WARNING)
    with exclusive(lock), migrating(url):
        DBOS.migrate(system_database_url=engine_url(url))


def engine_url(url: str) -> str:
    """Return the database URL in the engine's own spelling."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


class DbosEngine:
    """`JobEngine` on DBOS Transact; the workflows themselves run in worker processes.

    Args:
        url: database URL; `migrate_engine` has run on it.
    """

    def __init__(self, url: str) -> None:
        self._client = DBOSClient(
            system_database_url=engine_url(url),
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            retry_connection_errors=False,
        )

    def submit(self, submission: Submission) -> None:
        """Queue the job; submitting the same id again changes nothing."""
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": submission.workflow_id,
            "app_version": VERSION,
            "priority": submission.priority + 1,  # the engine runs what has no priority first, and its own start at 1
        }
        self._client.enqueue(options, submission.job_id)

    def get(self, workflow: str) -> EngineJob | None:
        """Return what the engine knows about the job, None where it never saw it."""
        return self.list([workflow]).get(workflow)

    def list(self, workflows: Iterable[str]) -> Mapping[str, EngineJob]:
        """Return what the engine knows about these jobs."""
        wanted = list(workflows)
        if not wanted:
            return {}
        found = self._client.list_workflows(workflow_ids=wanted, load_input=False, load_output=True)
        return {
            status.workflow_id: EngineJob(status.workflow_id, STATUS_OF[status.status], _text(status.error))
            for status in found
        }

    def held_by(self, worker: str) -> Sequence[str]:
        """Return the workflows that a worker has taken and not ended."""
        found = self._client.list_workflows(executor_id=worker, status="PENDING", load_input=False, load_output=False)
        return [status.workflow_id for status in found]

    def cancel(self, workflow: str) -> None:
        """Stop the job at its next point of rest; doing it twice is harmless."""
        self._client.cancel_workflow(workflow)

    def pause(self, workflow: str) -> None:
        """Stop the job so that `resume` continues it; finished steps are kept."""
        self._client.cancel_workflow(workflow)

    def resume(self, workflow: str) -> None:
        """Queue a stopped job again from its first unfinished step."""
        self._client.resume_workflow(workflow, queue_name=QUEUE)

    def events(self, workflow: str) -> Sequence[Mapping[str, Any]]:
        """Return the finished steps of the job, oldest first, for diagnosis."""
        return [
            {"step": step["function_id"], "name": step["function_name"]}
            for step in self._client.list_workflow_steps(workflow)
        ]

    def close(self) -> None:
        """Release the engine's connections."""
        self._client.destroy()


def _text(error: BaseException | None) -> str | None:
    return None if error is None else str(error)
