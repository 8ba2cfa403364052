"""The web pages: start page, one job, one report; static files from the same origin."""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from service.catalogue.model_info import ModelInfo
from service.routes.health import is_ready
from service.routes.html import page_response
from service.routes.reports import report_response
from service.routes.resources import event_resource, job_resource, report_resource
from service.routes.rooms import Rooms, rooms_of
from service.security.identity import csrf_of, owner_of
from service.store.tables import Job
from service.web.model_page import cost_share
from service.web.pages import render_dashboard, render_job, render_model

router = APIRouter(include_in_schema=False)
STATIC: Final = Path(__file__).parent.parent / "web" / "static"
SHOWN: Final = 20
EVENTS_SHOWN: Final = 200
SHARDS_READ: Final = 300  # of a job whose partial report its page shows


def static_files() -> StaticFiles:
    """Return the application that serves style, script and icon."""
    return StaticFiles(directory=STATIC)


@router.get("/")
def dashboard(request: Request) -> Response:
    """Return the start page: health, models, jobs, reports."""
    rooms = rooms_of(request)
    jobs = rooms.ledger.page(owner=owner_of(request), limit=SHOWN)
    counts = rooms.ledger.counts(jobs)
    reports = rooms.reports.page(owner=owner_of(request), limit=SHOWN)
    health: dict[str, Any] = {"ready": is_ready(rooms)}
    if broken := rooms.pool.broken():
        health["not served"] = ", ".join(broken)
    if waiting := sum(served.batcher.admission.rows for served in rooms.pool.served()):
        health["rows that wait or run"] = str(waiting)
    page = render_dashboard(
        [_with_cost(rooms, info) for info in rooms.pool.loaded()],
        [job_resource(job, counts) for job in jobs],
        [report_resource(report) for report in reports],
        health,
        origin=str(request.base_url).rstrip("/"),
        csrf=csrf_of(request),
    )
    return page_response(page)


@router.get("/jobs/{job_id}")
def job(request: Request, job_id: str) -> Response:
    """Return the page of one job."""
    rooms = rooms_of(request)
    found = rooms.ledger.get(job_id, owner=owner_of(request))
    newest = rooms.ledger.events(job_id, after=max(0, found.last_seq - EVENTS_SHOWN), limit=EVENTS_SHOWN)
    resource = job_resource(found, rooms.ledger.counts([found]))
    events = [event_resource(event) for event in newest]
    return page_response(render_job(resource, events, so_far=_so_far(rooms, found), csrf=csrf_of(request)))


@router.get("/models/{name}")
def model(request: Request, name: str) -> Response:
    """Return the page of one ensemble: its newest answering version."""
    pool = rooms_of(request).pool
    address = pool.resolve(name)
    if address.view.kind != "ensemble":
        return RedirectResponse(f"/models/{address.view.ensemble}", 307)
    info = address.served.info
    record = info.model_dump(mode="json") | {"versions": pool.versions(name)}
    return page_response(render_model(record, costs=pool.costs(name, info.version), csrf=csrf_of(request)))


@router.get("/reports/{report_id}")
def report(request: Request, report_id: str) -> Response:
    """Return the report as the offline file that the worker wrote."""
    return report_response(request, report_id, "html")


@router.get("/favicon.ico")
def favicon() -> Response:
    """Return the icon browsers ask for by themselves."""
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")


def _with_cost(rooms: Rooms, info: ModelInfo) -> dict[str, Any]:
    costs = rooms.pool.costs(info.name, info.version)
    return info.model_dump(mode="json", exclude={"generation"}) | {"cost_share": cost_share(costs, info.members)}


def _so_far(rooms: Rooms, job: Job) -> dict[str, Any] | None:
    """Return the partial report of an evaluation that has no other; not of thousands of shards at each look."""
    if job.type != "evaluate" or job.report_id is not None or (job.shards_total or 0) > SHARDS_READ:
        return None
    return rooms.partial(job, rooms.ledger.shard_keys(job.id))
