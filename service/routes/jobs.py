"""`/api/v1/jobs`: hand in, look at, stop and resume evaluation jobs."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse, RedirectResponse, Response

from service.errors import MalformedRequest, UnsupportedMedia
from service.jobs.ledger import IdempotencyKey
from service.jobs.specs import EvaluateJob
from service.jobs.states import JobState
from service.json_body import load_json
from service.routes import cursors
from service.routes.bodies import read_body
from service.routes.resources import job_resource
from service.routes.rooms import Rooms, rooms_of
from service.security.identity import owner_of
from service.store.canonical import digest
from service.store.tables import Job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
RETRY_AFTER = "1"
JSON: Final = "application/json"

Limit = Annotated[int, Query(ge=1, le=200)]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/problem+json": {}}}
    for status, text in ((404, "no such job"), (409, "its state forbids the move"))
}


def _body_schema() -> dict[str, Any]:
    """Return the body of a new job for the OpenAPI document: the route reads it by itself, within bounds."""
    schema = EvaluateJob.model_json_schema()
    return {"requestBody": {"required": True, "content": {JSON: {"schema": _inlined(schema, schema.pop("$defs"))}}}}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    named = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {name: _inlined(value, definitions) for name, value in {**named, **node}.items() if name != "$ref"}


@router.post(
    "", status_code=202, operation_id="create_job", summary="Hand in an evaluation job", openapi_extra=_body_schema()
)
async def create(request: Request, idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> Response:
    """Return the queued job; everything that can be refused is refused before it is queued."""
    rooms = rooms_of(request)
    _check_media(request.headers.get("content-type", JSON))
    body = await read_body(request, limit=rooms.settings.max_job_bytes)
    return await asyncio.to_thread(_create, rooms, owner_of(request), body, idempotency_key)


@router.get("", operation_id="list_jobs", summary="Jobs, newest first")
def page(request: Request, limit: Limit = 50, cursor: str | None = None, state: JobState | None = None) -> JSONResponse:
    """Return one page of jobs."""
    rooms = rooms_of(request)
    filters = {"list": "jobs", "state": state}
    before = cursors.decode(rooms.secret, cursor, filters) if cursor is not None else None
    found = rooms.ledger.page(owner=owner_of(request), limit=limit + 1, before=before, state=state)
    shown, more = found[:limit], len(found) > limit
    counts = rooms.ledger.counts(shown)
    following = cursors.encode(rooms.secret, (shown[-1].created_at, shown[-1].id), filters) if more else None
    return JSONResponse(
        {"data": [job_resource(job, counts) for job in shown], "has_more": more, "next_cursor": following}
    )


@router.get("/{job_id}", operation_id="get_job", summary="State and progress of a job", responses=PROBLEMS)
def get(request: Request, job_id: str) -> JSONResponse:
    """Return the job."""
    rooms = rooms_of(request)
    return JSONResponse(_resource(rooms, rooms.ledger.get(job_id, owner=owner_of(request))))


@router.post(
    "/{job_id}:cancel", status_code=202, operation_id="cancel_job", summary="Stop a job for good", responses=PROBLEMS
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
    summary="Stop a job, keep its shards",
    responses=PROBLEMS,
)
def pause(request: Request, job_id: str) -> Response:
    """Return the job on its way to rest."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.pause(job_id, owner=owner_of(request)), 202)


@router.post("/{job_id}:resume", status_code=202, operation_id="resume_job", summary="Continue it", responses=PROBLEMS)
def resume(request: Request, job_id: str) -> Response:
    """Return the job, queued again."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.resume(job_id, owner=owner_of(request)), 202)


def _create(rooms: Rooms, owner: str, body: bytes, idempotency_key: str | None) -> Response:
    job = _parse(body)
    key = None
    if idempotency_key is not None:
        if not idempotency_key or not all("!" <= letter <= "~" for letter in idempotency_key):
            raise MalformedRequest("Idempotency-Key: expected 1 to 255 visible ASCII characters, got another text")
        key = IdempotencyKey("POST /api/v1/jobs", idempotency_key, digest(job.model_dump(mode="json")))
    created = rooms.desk.submit(job, owner=owner, key=key)
    headers = {"Location": f"/api/v1/jobs/{created.job.id}", "Retry-After": RETRY_AFTER}
    if created.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(_resource(rooms, rooms.ledger.get(created.job.id, owner=owner)), 202, headers=headers)


def _parse(body: bytes) -> EvaluateJob:
    try:
        return EvaluateJob.model_validate(load_json(body))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def _check_media(value: str) -> None:
    media = value.partition(";")[0].strip().lower()
    if media != JSON and not (media.startswith("application/") and media.endswith("+json")):
        raise UnsupportedMedia(f"Content-Type: expected {JSON}, got {media[:40]!r}; name it in the request's headers")


def _resource(rooms: Rooms, job: Job) -> dict[str, Any]:
    return job_resource(job, rooms.ledger.counts([job]))


def _moved(request: Request, rooms: Rooms, job: Job, status: int) -> Response:
    if "text/html" in request.headers.get("accept", ""):  # a form without script
        return RedirectResponse(f"/jobs/{job.id}", 303)
    return JSONResponse(_resource(rooms, job), status, headers={"Retry-After": RETRY_AFTER} if status == 202 else None)
