"""Who may write about a job: the one execution that the engine says owns it, asked inside the writing transaction.

A worker that was frozen or cut off may wake up after its job went to another one. The engine gives each execution a
token of its own and forgets it when the job is handed on, so the token decides, not a clock.
"""

from typing import Final, Protocol

from dbos._context import get_local_dbos_context  # 3.4 shows the token nowhere else; a test notices when it moves
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.errors import ServiceError

# The engine's table by dialect; locked where the database does not lock as a whole, so that no hand-over comes between.
OWNER: Final = {
    "sqlite": text("select owner_xid from workflow_status where workflow_uuid = :workflow"),
    "postgresql": text("select owner_xid from dbos.workflow_status where workflow_uuid = :workflow for no key update"),
}


class LeaseLost(ServiceError):
    """Another worker has the job by now; what this one found out is dropped."""


class Fence(Protocol):
    """Knows whether the work at hand may still write."""

    def holds(self, session: Session) -> bool:
        """Return whether it may, until this transaction ends."""


class NoFence:
    """For work that nobody can take over."""

    def holds(self, session: Session) -> bool:
        """Return True."""
        return True


class EngineFence:
    """For the steps of a workflow."""

    def holds(self, session: Session) -> bool:
        """Return whether the engine's row still carries the token of the execution that this thread works for."""
        context = get_local_dbos_context()
        if context is None or context.owner_xid is None:
            return False
        asked = OWNER[session.get_bind().dialect.name]
        return bool(session.execute(asked, {"workflow": context.workflow_id}).scalar() == context.owner_xid)
