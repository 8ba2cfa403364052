"""States of a job, the moves between them, and what the engine's status means for them.

| state | meaning |
|---|---|
| queued | written, waits for a worker |
| running | a worker has planned it or works through its shards |
| cancelling, pausing | asked to stop; a shard may still be in flight |
| paused | stopped, committed shards are kept, can be resumed |
| succeeded | its report is written |
| failed | it ended with an error; it may be retried |
| cancelled | stopped; it may be retried |
"""

from enum import StrEnum


class JobState(StrEnum):
    """State of a job as its row owns it."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Mark(StrEnum):
    """Why we stopped a job: written before the engine is told to."""

    CANCEL = "cancel"
    PAUSE = "pause"
    TIMEOUT = "timeout"


class EngineStatus(StrEnum):
    """What a job engine can say about a workflow, in the words of no particular engine."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    STOPPED = "stopped"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
OPEN = frozenset(JobState) - TERMINAL
RETRIABLE = frozenset({JobState.FAILED, JobState.CANCELLED})
STOPPABLE = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.PAUSED})

# The whole mapping: (engine's status, our mark) -> state. A mark in no row leaves the row without one.
STATE_OF: dict[tuple[EngineStatus, Mark | None], JobState] = {
    (EngineStatus.QUEUED, None): JobState.QUEUED,
    (EngineStatus.QUEUED, Mark.CANCEL): JobState.CANCELLING,
    (EngineStatus.QUEUED, Mark.PAUSE): JobState.PAUSING,
    (EngineStatus.RUNNING, None): JobState.RUNNING,
    (EngineStatus.RUNNING, Mark.CANCEL): JobState.CANCELLING,
    (EngineStatus.RUNNING, Mark.PAUSE): JobState.PAUSING,
    (EngineStatus.SUCCEEDED, None): JobState.SUCCEEDED,
    (EngineStatus.FAILED, None): JobState.FAILED,
    (EngineStatus.EXHAUSTED, None): JobState.FAILED,
    (EngineStatus.STOPPED, None): JobState.CANCELLED,
    (EngineStatus.STOPPED, Mark.CANCEL): JobState.CANCELLED,
    (EngineStatus.STOPPED, Mark.PAUSE): JobState.PAUSED,
    (EngineStatus.STOPPED, Mark.TIMEOUT): JobState.FAILED,
}


def state_of(status: EngineStatus, mark: Mark | None) -> JobState:
    """Return the state of a job whose workflow has `status` and whose row carries `mark`."""
    return STATE_OF.get((status, mark)) or STATE_OF[status, None]


# What may follow what; everything else is refused with a StateConflict.
MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING, JobState.CANCELLED, JobState.PAUSED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING, JobState.PAUSING, JobState.CANCELLED}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.FAILED}),
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.CANCELLING}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def may_move(old: JobState, new: JobState) -> bool:
    """Return whether a job may go from `old` to `new`."""
    return new in MOVES[old]
