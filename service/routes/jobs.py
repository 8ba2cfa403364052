"""`/api/v1/jobs`: hand in, look at, stop and resume evaluation jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from service.errors import MalformedRequest
from service.jobs.ledger import IdempotencyKey
from service.jobs.specs import EvaluateJob
from service.jobs.states import JobState
from service.routes import cursors
from service.routes.resources import job_resource
from service.routes.rooms import OWNER, Rooms, rooms_of
from service.store.canonical import digest
from service.store.tables import Job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
RETRY_AFTER = "1"

Limit = Annotated[int, Query(ge=1, le=200)]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/problem+json": {}}}
    for status, text in ((404, "no such job"), (409, "its state forbids the move"))
}


@router.post("", status_code=202, operation_id="create_job", summary="Hand in an evaluation job")
def create(
    request: Request, job: EvaluateJob, idempotency_key: Annotated[str | None, Header(max_length=255)] = None
) -> JSONResponse:
    """Return the queued job; everything that can be refused is refused before it is queued."""
    rooms = rooms_of(request)
    key = None
    if idempotency_key is not None:
        if not idempotency_key or not all("!" <= letter <= "~" for letter in idempotency_key):
            raise MalformedRequest("Idempotency-Key: expected 1 to 255 visible ASCII characters, got another text")
        key = IdempotencyKey("POST /api/v1/jobs", idempotency_key, digest(job.model_dump(mode="json")))
    created = rooms.desk.submit(job, owner=OWNER, key=key)
    headers = {"Location": f"/api/v1/jobs/{created.job.id}", "Retry-After": RETRY_AFTER}
    if created.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(_resource(rooms, rooms.ledger.get(created.job.id, owner=OWNER)), 202, headers=headers)


@router.get("", operation_id="list_jobs", summary="Jobs, newest first")
def page(request: Request, limit: Limit = 50, cursor: str | None = None, state: JobState | None = None) -> JSONResponse:
    """Return one page of jobs."""
    rooms = rooms_of(request)
    filters = {"list": "jobs", "state": state}
    before = cursors.decode(rooms.secret, cursor, filters) if cursor is not None else None
    found = rooms.ledger.page(owner=OWNER, limit=limit + 1, before=before, state=state)
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
    return JSONResponse(_resource(rooms, rooms.ledger.get(job_id, owner=OWNER)))


@router.post(
    "/{job_id}:cancel", status_code=202, operation_id="cancel_job", summary="Stop a job for good", responses=PROBLEMS
)
def cancel(request: Request, job_id: str) -> Response:
    """Return 202 while it stops, 200 when it was cancelled before."""
    rooms = rooms_of(request)
    job, stopping = rooms.desk.cancel(job_id, owner=OWNER)
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
    return _moved(request, rooms, rooms.desk.pause(job_id, owner=OWNER), 202)


@router.post("/{job_id}:resume", status_code=202, operation_id="resume_job", summary="Continue it", responses=PROBLEMS)
def resume(request: Request, job_id: str) -> Response:
    """Return the job, queued again."""
    rooms = rooms_of(request)
    return _moved(request, rooms, rooms.desk.resume(job_id, owner=OWNER), 202)


def _resource(rooms: Rooms, job: Job) -> dict[str, Any]:
    return job_resource(job, rooms.ledger.counts([job]))


def _moved(request: Request, rooms: Rooms, job: Job, status: int) -> Response:
    if "text/html" in request.headers.get("accept", ""):  # a form without script
        return RedirectResponse(f"/jobs/{job.id}", 303)
    return JSONResponse(_resource(rooms, job), status, headers={"Retry-After": RETRY_AFTER} if status == 202 else None)
