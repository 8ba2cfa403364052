"""`/api/v1/reports`: finished reports as JSON, as one HTML file, as Markdown; point by point; two compared."""

from types import MappingProxyType
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from service.errors import NotAcceptable, NotFound
from service.openapi import jobs as shapes
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes import cursors
from service.routes.etags import is_known, require_match, tagged
from service.routes.files import file_response
from service.routes.jobs import Limit
from service.routes.negotiation import choose
from service.routes.resources import report_resource
from service.routes.rooms import rooms_of
from service.security.identity import owner_of
from service.web.policy import report_header_policy

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])
MEDIA: Final = MappingProxyType({"json": "application/json", "html": "text/html", "markdown": "text/markdown"})
ALIASES: Final = MappingProxyType({"md": "markdown"})


@router.get(
    "",
    operation_id="list_reports",
    response_model=Page[shapes.ReportEntry],
    summary="Reports, newest first",
    responses=also(304),
)
def page(request: Request, limit: Limit = 50, cursor: str | None = None) -> Response:
    """Return one page of reports, without their bodies."""
    rooms = rooms_of(request)
    filters = {"list": "reports"}
    before = cursors.decode(rooms.secret, cursor, filters) if cursor is not None else None
    found = rooms.reports.page(owner=owner_of(request), limit=limit + 1, before=before)
    shown, more = found[:limit], len(found) > limit
    following = cursors.encode(rooms.secret, (shown[-1].created_at, shown[-1].id), filters) if more else None
    data = [report_resource(report) for report in shown]
    return tagged(request, {"data": data, "has_more": more, "next_cursor": following})


@router.get(
    "/{report_id}:compare",
    operation_id="compare_reports",
    response_model=shapes.Comparison,
    summary="A report against another one on the same points",
    responses=also(409, 410),
)
def compare(
    request: Request, report_id: str, with_: Annotated[str, Query(alias="with", max_length=96, description="report id")]
) -> JSONResponse:
    """Return the paired comparison, row by row; 409 where the reports judge other points."""
    rooms = rooms_of(request)
    first, second = (rooms.reports.get(name, owner=owner_of(request)) for name in (report_id, with_))
    return JSONResponse(rooms.compare(first, second), headers={"Cache-Control": "private, no-cache"})


@router.get(
    "/{report_id}/samples.csv",
    operation_id="get_report_samples",
    summary="What became of each point, as a table",
    responses=also(206, 304, 410, 416) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
def samples(request: Request, report_id: str) -> Response:
    """Return one line per point: label, and who was right on it, clean and in the worst case at each radius."""
    rooms = rooms_of(request)
    report = rooms.reports.get(report_id, owner=owner_of(request))
    if "csv" not in report.files:
        raise NotFound(f"report {report_id}: expected one with verdicts per point, got one of an older version")
    return file_response(request, rooms.artifacts, report.files["csv"], "text/csv", f"{report_id}.csv")


@router.delete(
    "/{report_id}", status_code=204, operation_id="delete_report", summary="Forget a report", responses=also(412)
)
def delete(request: Request, report_id: str) -> Response:
    """Return 204; the job that made it stays, without a report."""
    rooms = rooms_of(request)
    report = rooms.reports.get(report_id, owner=owner_of(request))
    require_match(request, f'"{report.files["json"]}"')
    rooms.reports.delete(report_id)
    return Response(status_code=204)


@router.get(
    "/{report_id}",
    operation_id="get_report",
    response_model=shapes.Report,
    summary="A report as JSON, HTML or Markdown",
    responses=also(304, 406, 410)
    | {
        200: {"content": {"text/html": {"schema": {"type": "string"}}, "text/markdown": {"schema": {"type": "string"}}}}
    },
)
def get(request: Request, report_id: str, format: str | None = None) -> Response:  # noqa: A002 - the query's own name
    """Return the report, byte for byte as the worker wrote it."""
    wanted = ALIASES.get(format, format) if format is not None else None
    return report_response(request, report_id, choose(MEDIA, request.headers.get("accept"), wanted))


def report_response(request: Request, report_id: str, form: str) -> Response:
    """Return one file of a report.

    Args:
        request: what came.
        report_id: id of the report.
        form: a key of `MEDIA`.

    Raises:
        NotFound: no such report.
        Gone: its file is missing.
        NotAcceptable: it was not written in that form.
    """
    rooms = rooms_of(request)
    report = rooms.reports.get(report_id, owner=owner_of(request))
    name = report.files.get(form)
    if name is None:
        raise NotAcceptable(f"report: expected one of {sorted(report.files)}, got {form!r}")
    headers = {"ETag": f'"{name}"', "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = rooms.artifacts.get(name)
    if form == "html":
        headers["Content-Security-Policy"] = report_header_policy(data.decode())
    return Response(data, media_type=MEDIA[form], headers=headers)
