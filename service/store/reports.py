"""Reading report rows; workers write them together with the job's last move."""

from collections.abc import Sequence

from sqlalchemy import select, tuple_

from service.errors import NotFound
from service.store.database import Database
from service.store.tables import Report


class ReportShelf:
    """Finished reports, newest first.

    Args:
        database: where the rows lie.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, report_id: str, *, owner: str) -> Report:
        """Return the report.

        Raises:
            NotFound: this owner has no such report.
        """
        with self._database.read() as session:
            report = session.get(Report, report_id)
            if report is None or report.owner != owner:
                raise NotFound(
                    f"report: expected the id of a stored one, got {report_id[:80]!r}; GET /api/v1/reports lists them"
                )
            session.expunge(report)
            return report

    def page(self, *, owner: str, limit: int, before: tuple[int, str] | None = None) -> Sequence[Report]:
        """Return up to `limit` reports older than `before` (created_at, id)."""
        query = select(Report).where(Report.owner == owner)
        query = query.order_by(Report.created_at.desc(), Report.id.desc()).limit(limit)
        if before is not None:
            query = query.where(tuple_(Report.created_at, Report.id) < before)
        with self._database.read() as session:
            reports = session.scalars(query).all()
            session.expunge_all()
            return reports
