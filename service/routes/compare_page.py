"""`/compare`: two reports side by side."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import DamagedArtifact, Gone, NotFound, StateConflict
from service.routes.html import page_response
from service.routes.resources import report_resource
from service.routes.rooms import rooms_of
from service.security.identity import csrf_of, owner_of
from service.store.tables import Report
from service.web.compare_page import compare_page
from service.web.pages import render_compare

router = APIRouter(include_in_schema=False)
OFFERED = 100


@router.get("/compare")
def compare(request: Request, first: str = "", second: str = "") -> Response:
    """Return the page: the choice, and the comparison once both are chosen."""
    rooms, owner = rooms_of(request), owner_of(request)
    offered = rooms.reports.page(owner=owner, limit=OFFERED)
    ids = [report.id for report in offered]
    chosen = (first or (ids[0] if ids else ""), second or (ids[1] if len(ids) > 1 else ""))
    sides: list[Report] = []
    comparison, problem, status = None, "", 200
    if first and second:
        try:
            sides = [rooms.reports.get(name, owner=owner) for name in (first, second)]
            comparison = rooms.compare(*sides)
        except (StateConflict, Gone, DamagedArtifact) as error:
            problem = str(error)
        except NotFound as error:
            problem, status = str(error), 404
    page = compare_page(
        [report_resource(report) for report in offered],
        chosen=chosen,
        sides=[report_resource(report) for report in sides],
        comparison=comparison,
        problem=problem,
    )
    return page_response(render_compare(page, csrf=csrf_of(request)), status)
