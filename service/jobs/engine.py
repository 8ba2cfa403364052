"""The job engine as the rest of the service sees it: submit, get, list, cancel, pause, resume, events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.jobs.states import EngineStatus


@dataclass(frozen=True, slots=True)
class Submission:
    """What an engine needs to start a job."""

    job_id: str
    priority: int  # 0 is served first


@dataclass(frozen=True, slots=True)
class EngineJob:
    """What an engine says about a job."""

    job_id: str
    status: EngineStatus
    error: str | None = None


class JobEngine(Protocol):
    """Runs jobs durably; holds nothing whose loss matters besides the order of finished steps."""

    def submit(self, submission: Submission) -> None:
        """Queue the job; submitting the same id again changes nothing."""

    def get(self, job_id: str) -> EngineJob | None:
        """Return what the engine knows about the job, None where it never saw it."""

    def list(self, job_ids: Iterable[str]) -> Mapping[str, EngineJob]:
        """Return what the engine knows about these jobs."""

    def cancel(self, job_id: str) -> None:
        """Stop the job at its next point of rest; doing it twice is harmless."""

    def pause(self, job_id: str) -> None:
        """Stop the job so that `resume` continues it; finished steps are kept."""

    def resume(self, job_id: str) -> None:
        """Queue a stopped job again from its first unfinished step."""

    def events(self, job_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the finished steps of the job, oldest first, for diagnosis."""

    def close(self) -> None:
        """Release the engine's connections."""
