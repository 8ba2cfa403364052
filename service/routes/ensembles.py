"""`/api/v1/ensembles`: generate them, look at them, choose the version that answers."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse, Response

from service.errors import StateConflict, UnknownModel
from service.jobs.orders import GenerateJob
from service.openapi import catalogue
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes.bodies import read_body
from service.routes.creating import JSON, REPLAYED, check_media, idempotency_key, inlined, parse_job
from service.routes.etags import etag_of, require_match, tagged
from service.routes.resources import ensemble_resource
from service.routes.rooms import Rooms, rooms_of
from service.security.identity import owner_of
from service.store.tables import Job

router = APIRouter(prefix="/api/v1/ensembles", tags=["ensembles"])
TYPE: Final = "generate"
RETRY_AFTER: Final = "2"


def _body_schema() -> dict[str, Any]:
    schema = GenerateJob.model_json_schema()
    whole = inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {JSON: {"schema": whole}}}}


@router.post(
    "",
    status_code=202,
    operation_id="create_ensemble",
    response_model=catalogue.NewEnsemble,
    summary="Generate an ensemble from a stored base network",
    openapi_extra=_body_schema(),
)
async def create(request: Request, idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> Response:
    """Return the ensemble with the queued job that generates its next version."""
    rooms = rooms_of(request)
    check_media(request.headers.get("content-type", JSON))
    body = await read_body(request, limit=rooms.settings.max_job_bytes)
    return await asyncio.to_thread(_create, rooms, owner_of(request), body, idempotency_key)


@router.get(
    "",
    operation_id="list_ensembles",
    response_model=Page[catalogue.Ensemble],
    summary="Ensembles that are stored",
    responses=also(304),
)
def listed(request: Request) -> Response:
    """Return every stored ensemble: those that answer, those that cannot with the reason, those being generated."""
    rooms = rooms_of(request)
    made = _made(rooms, owner_of(request))
    names = sorted({*rooms.repository.names(), *(info.name for info in rooms.pool.loaded()), *made})
    data = [_resource(rooms, name, made.get(name, [])) for name in names]
    return tagged(request, {"data": data, "has_more": False, "next_cursor": None})


@router.get(
    "/{name}",
    operation_id="get_ensemble",
    response_model=catalogue.Ensemble,
    summary="One ensemble and its generation",
    responses=also(304),
)
def get(request: Request, name: str) -> Response:
    """Return the ensemble; `generation` is the record of the version that answers."""
    rooms = rooms_of(request)
    resource = _found(rooms, owner_of(request), name)
    return tagged(request, resource)


@router.post(
    "/{name}/versions/{version}:activate",
    operation_id="activate_ensemble",
    response_model=catalogue.Ensemble,
    summary="Let one version answer where none is named",
    responses=also(409, 412),
)
async def activate(request: Request, name: str, version: str) -> JSONResponse:
    """Return the ensemble; requests admitted before are answered by the version they were admitted to."""
    rooms = rooms_of(request)
    before = await asyncio.to_thread(_found, rooms, owner_of(request), name)
    require_match(request, etag_of(before))
    known = {row["version"]: row for row in before["versions"]}
    if version not in known:
        raise UnknownModel(f"version: expected one of {sorted(known, key=int)}, got {version[:20]!r}")
    if not known[version]["ready"]:
        reason = known[version]["reason"]
        raise StateConflict(f"ensemble {name} version {version}: expected one that answers, but {reason}")
    await asyncio.to_thread(rooms.repository.activate, name, version)
    rooms.pool.activate(name, version)
    after = await asyncio.to_thread(_found, rooms, owner_of(request), name)
    return JSONResponse(after, headers={"ETag": etag_of(after)})


def _create(rooms: Rooms, owner: str, body: bytes, header: str | None) -> Response:
    job = parse_job(body, only=TYPE)
    key = idempotency_key("POST /api/v1/ensembles", header, job)
    created = rooms.desk.submit(job, owner=owner, key=key)
    name = created.job.spec["name"]
    headers = {"Location": f"/api/v1/ensembles/{name}", "Retry-After": RETRY_AFTER}
    headers["Link"] = f'</api/v1/jobs/{created.job.id}>; rel="monitor"'
    if created.replayed:
        headers[REPLAYED] = "true"
    jobs = _made(rooms, owner).get(name, [])
    resource = _resource(rooms, name, jobs) | {"job_id": created.job.id}
    return JSONResponse(resource, 202, headers=headers)


def _made(rooms: Rooms, owner: str) -> dict[str, list[Job]]:
    """Return the unfinished generations of an owner, by the name of the ensemble."""
    found: dict[str, list[Job]] = {}
    for job in rooms.ledger.open_jobs(TYPE):
        if job.owner == owner:
            found.setdefault(job.spec["name"], []).append(job)
    return found


def _found(rooms: Rooms, owner: str, name: str) -> dict[str, Any]:
    made = _made(rooms, owner)
    known = sorted({*rooms.repository.names(), *made})
    if name not in known:
        raise UnknownModel(f"ensemble: expected one of {known}, got {name[:120]!r}; GET /api/v1/ensembles lists them")
    return _resource(rooms, name, made.get(name, []))


def _resource(rooms: Rooms, name: str, jobs: list[Job]) -> dict[str, Any]:
    pool = rooms.pool
    answering = next((info for info in pool.loaded() if info.name == name), None)
    reasons = {key.partition("/")[2]: reason for key, reason in pool.broken().items() if key.partition("/")[0] == name}
    ready = {one.info.version: one.info for one in pool.served() if one.info.name == name}
    stored = rooms.repository.versions(name) if name in rooms.repository.names() else []
    plans = pool.plans(name, answering.version) if answering is not None else {}
    pinned = rooms.repository.active(name)
    return ensemble_resource(name, answering, stored, ready, reasons, pinned=pinned, jobs=jobs) | {"plans": plans}
