"""The table from the engine's status and our mark to the state of a job: one test per row.

Seen to fail: CANCELLED under the pause mark turned into cancelled.
"""

import pytest
from dbos import WorkflowStatusString

from service.jobs.dbos_engine import STATUS_OF
from service.jobs.states import MOVES, RETRIABLE, STATE_OF, TERMINAL, EngineStatus, JobState, Mark, may_move, state_of

ROWS = [
    ("ENQUEUED", None, "queued"),
    ("DELAYED", None, "queued"),
    ("ENQUEUED", "cancel", "cancelling"),
    ("ENQUEUED", "pause", "pausing"),
    ("PENDING", None, "running"),
    ("PENDING", "cancel", "cancelling"),
    ("PENDING", "pause", "pausing"),
    ("SUCCESS", None, "succeeded"),
    ("SUCCESS", "cancel", "succeeded"),
    ("ERROR", None, "failed"),
    ("ERROR", "pause", "failed"),
    ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", None, "failed"),
    ("CANCELLED", None, "cancelled"),
    ("CANCELLED", "cancel", "cancelled"),
    ("CANCELLED", "pause", "paused"),
    ("CANCELLED", "timeout", "failed"),
]


@pytest.mark.parametrize(("engine", "mark", "state"), ROWS)
def test_each_row(engine: str, mark: str | None, state: str) -> None:
    """An engine's status under a mark is exactly one state."""
    assert state_of(STATUS_OF[engine], Mark(mark) if mark else None) == JobState(state)


def test_every_row_and_every_status_is_covered() -> None:
    """No row of the table is untested, and the engine knows no status that we do not."""
    tested = {(STATUS_OF[engine], Mark(mark) if mark else None) for engine, mark, _ in ROWS}
    assert set(STATE_OF) <= tested
    assert {status.value for status in WorkflowStatusString} == set(STATUS_OF)
    assert set(STATUS_OF.values()) == set(EngineStatus)


def test_ended_jobs_only_leave_by_a_retry() -> None:
    """A success is final, a failed or cancelled job may wait again, an open state leads somewhere, none to itself."""
    for state in JobState:
        if state in TERMINAL:
            assert MOVES[state] == ({JobState.QUEUED} if state in RETRIABLE else frozenset())
        assert MOVES[state] or state is JobState.SUCCEEDED
        assert not may_move(state, state)
