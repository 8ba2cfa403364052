"""The job engine as the rest of the service sees it: submit, get, list, cancel, pause, resume, events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.jobs.states import EngineStatus


@dataclass(frozen=True, slots=True)
class Submission:
    """What an engine needs to start a job.

    Attributes:
        workflow_id: what the engine calls this run of the job.
        job_id: what the workflow is handed.
        priority: 0 is served first.
    """

    workflow_id: str
    job_id: str
    priority: int


def workflow_id(job_id: str, run: int) -> str:
    """Return what the engine calls the n-th run of a job: a retry is a new workflow under the same job."""
    return job_id if run == 1 else f"{job_id}-{run}"


@dataclass(frozen=True, slots=True)
class EngineJob:
    """What an engine says about a workflow."""

    workflow_id: str
    status: EngineStatus
    error: str | None = None


class JobEngine(Protocol):
    """Runs jobs durably; holds nothing whose loss matters besides the order of finished steps.

    Its ids are those of `workflow_id`.
    """

    def submit(self, submission: Submission) -> None:
        """Queue the job; submitting the same id again changes nothing."""

    def get(self, workflow: str) -> EngineJob | None:
        """Return what the engine knows about the job, None where it never saw it."""

    def list(self, workflows: Iterable[str]) -> Mapping[str, EngineJob]:
        """Return what the engine knows about these jobs."""

    def held_by(self, worker: str) -> Sequence[str]:
        """Return the workflows that a worker has taken and not ended."""

    def cancel(self, workflow: str) -> None:
        """Stop the job at its next point of rest; doing it twice is harmless."""

    def pause(self, workflow: str) -> None:
        """Stop the job so that `resume` continues it; finished steps are kept."""

    def resume(self, workflow: str) -> None:
        """Queue a stopped job again from its first unfinished step."""

    def events(self, workflow: str) -> Sequence[Mapping[str, Any]]:
        """Return the finished steps of the job, oldest first, for diagnosis."""

    def close(self) -> None:
        """Release the engine's connections."""
