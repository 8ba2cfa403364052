"""Reading report rows; workers write them together with the job's last move."""

from collections.abc import Sequence

from sqlalchemy import delete, select, tuple_, update

from service.errors import NotFound
from service.store.database import Database
from service.store.tables import Job, Report


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

    def delete(self, report_id: str) -> None:
        """Forget the report; its files are collected later, its job no longer names it."""
        with self._database.write() as session:
            session.execute(delete(Report).where(Report.id == report_id))
            session.execute(update(Job).where(Job.report_id == report_id).values(report_id=None))

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
