"""`/api/v1/jobs`: hand in, look at, wait for, stop, resume, retry and delete jobs; their files."""

import asyncio
import re
import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from service.errors import NotFound
from service.jobs.orders import JOBS
from service.jobs.states import OPEN, JobState
from service.openapi import jobs as shapes
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes import cursors
from service.routes.bodies import read_body
from service.routes.creating import JSON, REPLAYED, check_media, idempotency_key, inlined, parse_job
from service.routes.etags import etag_of, is_known, require_match, tagged
from service.routes.files import file_response
from service.routes.resources import file_resource, job_resource
from service.routes.rooms import Rooms, rooms_of
from service.security.identity import owner_of
from service.store.tables import Job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
RETRY_AFTER = "1"
LOOK: Final = 0.2  # seconds between looks of a client that waits
LONGEST_WAIT: Final = 60
_WAIT: Final = re.compile(r"wait=(\d{1,6})")

Limit = Annotated[int, Query(ge=1, le=200)]


def _body_schema() -> dict[str, Any]:
    """Return the body of a new job for the OpenAPI document: the route reads it by itself, within bounds."""
    schemas = [model.model_json_schema() for model in JOBS.values()]
    choices = [inlined(schema, schema.pop("$defs", {})) for schema in schemas]
    content = {
        "schema": {"oneOf": choices},
        "examples": {kind: {"value": example} for kind, example in _EXAMPLES.items()},
    }
    return {"requestBody": {"required": True, "content": {JSON: content}}}


_EXAMPLES: Final[dict[str, Any]] = {
    "evaluate": {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": 200},
        "threat": {"norm": "linf", "epsilons": [0.1, 0.2, 0.3], "bounds": [0, 1]},
        "suite": {"name": "quick"},
        "seed": 0,
    },
    "generate": {
        "type": "generate",
        "name": "mine",
        "base": "digits-base",
        "members": 8,
        "calibration": {"dataset": "digits"},
    },
    "figures": {"type": "figures", "figures": [3, 4]},
}


@router.post(
    "",
    status_code=202,
    operation_id="create_job",
    response_model=shapes.Job,
    summary="Hand in a job",
    openapi_extra=_body_schema(),
)
async def create(request: Request, idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> Response:
    """Return the queued job; everything that can be refused is refused before it is queued."""
    rooms = rooms_of(request)
    check_media(request.headers.get("content-type", JSON))
    body = await read_body(request, limit=rooms.settings.max_job_bytes)
    return await asyncio.to_thread(_create, rooms, owner_of(request), body, idempotency_key)


@router.get(
    "",
    operation_id="list_jobs",
    response_model=Page[shapes.Job],
    summary="Jobs, newest first",
    responses=also(304),
)
def page(
    request: Request,
    limit: Limit = 50,
    cursor: str | None = None,
    state: JobState | None = None,
    type: Literal["evaluate", "generate", "figures"] | None = None,  # noqa: A002 - the query's own name
) -> Response:
    """Return one page of jobs."""
    rooms = rooms_of(request)
    filters = {"list": "jobs", "state": state, "type": type}
    before = cursors.decode(rooms.secret, cursor, filters) if cursor is not None else None
    found = rooms.ledger.page(owner=owner_of(request), limit=limit + 1, before=before, state=state, kind=type)
    shown, more = found[:limit], len(found) > limit
    counts = rooms.ledger.counts(shown)
    following = cursors.encode(rooms.secret, (shown[-1].created_at, shown[-1].id), filters) if more else None
    data = [job_resource(job, counts) for job in shown]
    tag = etag_of([[job_etag(resource) for resource in data], following])
    return tagged(request, {"data": data, "has_more": more, "next_cursor": following}, tag=tag)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    response_model=shapes.Job,
    summary="State and progress of a job",
    responses=also(304),
)
async def get(request: Request, job_id: str, prefer: Annotated[str | None, Header(max_length=200)] = None) -> Response:
    """Return the job; with `Prefer: wait=<seconds>` once it is over or rests, or the seconds have passed."""
    rooms = rooms_of(request)
    seconds = _seconds(prefer)
    job = await asyncio.to_thread(rooms.ledger.get, job_id, owner=owner_of(request))
    deadline = time.monotonic() + seconds
    while _is_under_way(job) and time.monotonic() < deadline and not rooms.draining:
        await asyncio.sleep(min(LOOK, max(0.0, deadline - time.monotonic())))
        job = await asyncio.to_thread(rooms.ledger.get, job_id, owner=owner_of(request))
    resource = await asyncio.to_thread(_resource, rooms, job)
    headers = {"ETag": job_etag(resource), "Cache-Control": "private, no-cache", "Vary": "Prefer"}
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds}"
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return JSONResponse(resource, headers=headers)


@router.delete(
    "/{job_id}",
    status_code=204,
    operation_id="delete_job",
    summary="Forget a job that is over",
    responses=also(409, 412),
)
def delete(request: Request, job_id: str) -> Response:
    """Return 204; a report that the job made stays."""
    rooms = rooms_of(request)
    require_match(request, job_etag(_resource(rooms, rooms.ledger.get(job_id, owner=owner_of(request)))))
    rooms.desk.delete(job_id, owner=owner_of(request))
    return Response(status_code=204)


@router.get(
    "/{job_id}/artifacts",
    operation_id="list_job_files",
    response_model=Page[shapes.File],
    summary="Files a job left behind",
    responses=also(304),
)
def files(request: Request, job_id: str) -> Response:
    """Return name, size, type and SHA-256 of every file."""
    rooms = rooms_of(request)
    rooms.ledger.get(job_id, owner=owner_of(request))
    listed = [file_resource(file) for file in rooms.ledger.files(job_id)]
    return tagged(request, {"data": listed, "has_more": False, "next_cursor": None})


@router.get(
    "/{job_id}/artifacts/{name}",
    operation_id="get_job_file",
    summary="One file of a job",
    responses=also(206, 304, 410, 416)
    | {200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
    response_class=Response,
)
def file(request: Request, job_id: str, name: str) -> Response:
    """Return the file, or one range of it."""
    rooms = rooms_of(request)
    rooms.ledger.get(job_id, owner=owner_of(request))
    known = {file.name: file for file in rooms.ledger.files(job_id)}
    if name not in known:
        raise NotFound(f"file: expected one of {sorted(known)}, got {name[:80]!r}")
    return file_response(request, rooms.artifacts, known[name].sha256, known[name].media_type, name)


@router.get(
    "/{job_id}/partial",
    operation_id="get_partial_report",
    response_model=shapes.PartialReport,
    summary="What an evaluation has found so far: provisional",
)
def partial(request: Request, job_id: str) -> JSONResponse:
    """Return counts over the shards committed so far, while the job runs and after it failed."""
    rooms = rooms_of(request)
    job = rooms.ledger.get(job_id, owner=owner_of(request))
    return JSONResponse(rooms.partial(job, rooms.ledger.shard_keys(job_id)), headers={"Cache-Control": "no-store"})


@router.post(
    "/{job_id}:cancel",
    status_code=202,
    operation_id="cancel_job",
    response_model=shapes.Job,
    summary="Stop a job for good",
    responses=also(409) | {200: {"description": "it was cancelled before", "model": shapes.Job}},
)
def cancel(request: Request, job_id: str) -> Response:
    """Return 202 while it stops, 200 when it was cancelled before."""
    rooms = rooms_of(request)
    job, stopping = rooms.desk.cancel(job_id, owner=owner_of(request))
    return _moved(request, rooms, job, 202 if stopping else 200)


@router.post(
    "/{job_id}:pause",
    status_code=202,
    operation_id="pause_job",
    response_model=shapes.Job,
    summary="Stop a job, keep its shards",
    responses=also(409),
)
def pause(request: Request, job_id: str) -> Response:
    """Return the job on its way to rest."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.pause(job_id, owner=owner_of(request)), 202)


@router.post(
    "/{job_id}:resume",
    status_code=202,
    operation_id="resume_job",
    response_model=shapes.Job,
    summary="Continue it",
    responses=also(409),
)
def resume(request: Request, job_id: str) -> Response:
    """Return the job, queued again."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.resume(job_id, owner=owner_of(request)), 202)


@router.post(
    "/{job_id}:retry",
    status_code=202,
    operation_id="retry_job",
    response_model=shapes.Job,
    summary="Run a failed or cancelled job again; its shards are kept",
    responses=also(409),
)
def retry(request: Request, job_id: str) -> Response:
    """Return the job, queued again."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.retry(job_id, owner=owner_of(request)), 202)


def job_etag(resource: dict[str, Any]) -> str:
    """Return the tag of a job: what it estimates about the time left does not count."""
    progress = {name: value for name, value in resource["progress"].items() if name != "eta_seconds"}
    return etag_of({**resource, "progress": progress})


def _create(rooms: Rooms, owner: str, body: bytes, header: str | None) -> Response:
    job = parse_job(body)
    key = idempotency_key("POST /api/v1/jobs", header, job)
    created = rooms.desk.submit(job, owner=owner, key=key)
    headers = {"Location": f"/api/v1/jobs/{created.job.id}", "Retry-After": RETRY_AFTER}
    if created.replayed:
        headers[REPLAYED] = "true"
    return JSONResponse(_resource(rooms, rooms.ledger.get(created.job.id, owner=owner)), 202, headers=headers)


def _seconds(prefer: str | None) -> int:
    """Return for how long the client wants to wait: what it asks for, within our limit."""
    wishes = [wish.strip() for wish in (prefer or "").split(",")]
    found = [match for wish in wishes if (match := _WAIT.fullmatch(wish))]
    return min(int(found[0][1]), LONGEST_WAIT) if found else 0


def _is_under_way(job: Job) -> bool:
    return JobState(job.state) in OPEN - {JobState.PAUSED}


def _resource(rooms: Rooms, job: Job) -> dict[str, Any]:
    return job_resource(job, rooms.ledger.counts([job]))


def _moved(request: Request, rooms: Rooms, job: Job, status: int) -> Response:
    if "text/html" in request.headers.get("accept", ""):  # a form without script
        return RedirectResponse(f"/jobs/{job.id}", 303)
    return JSONResponse(_resource(rooms, job), status, headers={"Retry-After": RETRY_AFTER} if status == 202 else None)
