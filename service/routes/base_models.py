"""`/api/v1/models`: base networks, uploaded as raw safetensors; an architecture is only ever named, never sent."""

import asyncio
import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from service.errors import MalformedRequest, NotFound, Overloaded, StateConflict, TooLarge, UnsupportedMedia
from service.openapi import catalogue
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes.bodies import announced_length, too_slow
from service.routes.creating import check_stored_name
from service.routes.etags import etag_of, require_match, tagged
from service.routes.resources import base_resource
from service.routes.rooms import Rooms, rooms_of

router = APIRouter(prefix="/api/v1/models", tags=["models"])
MEDIA: Final = ("application/octet-stream", "application/vnd.safetensors")
WEIGHTS: Final = "weights.safetensors"
SLOWEST: Final = 64 << 10  # bytes a second that an upload must keep up once the first grace is over
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {MEDIA[0]: {"schema": {"type": "string", "format": "binary"}}},
    },
    "parameters": [
        {
            "name": "Repr-Digest",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "SHA-256 of the body, `sha-256=:<base64>:` (RFC 9530)",
        }
    ],
}


@router.put(
    "/{name}",
    status_code=201,
    operation_id="put_model",
    response_model=catalogue.BaseNetwork,
    summary="Upload a base network as safetensors",
    responses=also(409) | {200: {"description": "the same bytes are stored already", "model": catalogue.BaseNetwork}},
    openapi_extra=_BODY,
)
async def put(
    request: Request,
    name: str,
    arch: Annotated[str, Query(max_length=200, description="architecture by key")],
    num_classes: Annotated[int | None, Query(ge=2, le=100_000, description="logits; the architecture's own")] = None,
) -> Response:
    """Return 201 for new weights, 200 for the same bytes again, 409 for other bytes under a taken name."""
    rooms = rooms_of(request)
    _check_headers(request)
    announced_length(request, limit=rooms.settings.max_model_bytes)
    expected = _expected_digest(request)
    check_stored_name(name)
    await asyncio.to_thread(_refuse_flood, rooms)
    draft = await asyncio.to_thread(rooms.bases.draft)
    try:
        actual = await _receive(request, draft / WEIGHTS, rooms)
    except BaseException:
        await asyncio.to_thread(rooms.bases.discard, draft)
        raise
    if actual != expected:
        await asyncio.to_thread(rooms.bases.discard, draft)
        raise MalformedRequest(
            f"Repr-Digest: expected the SHA-256 of the body, got that of other bytes (the body has {actual}); "
            "send the file again"
        )
    return await asyncio.to_thread(_store, rooms, name, draft, arch, num_classes, actual)


@router.get(
    "",
    operation_id="list_models",
    response_model=Page[catalogue.BaseNetwork],
    summary="Base networks that are stored",
    responses=also(304),
)
def listed(request: Request) -> Response:
    """Return every stored base network, by name."""
    bases = rooms_of(request).bases
    data = [base_resource(bases.info(name)) for name in bases.names()]
    return tagged(request, {"data": data, "has_more": False, "next_cursor": None})


@router.get(
    "/{name}",
    operation_id="get_model",
    response_model=catalogue.BaseNetwork,
    summary="One base network",
    responses=also(304),
)
def get(request: Request, name: str) -> Response:
    """Return what is stored about a base network."""
    return tagged(request, _found(rooms_of(request), name))


@router.delete(
    "/{name}", status_code=204, operation_id="delete_model", summary="Delete a base network", responses=also(409, 412)
)
def delete(request: Request, name: str) -> Response:
    """Return 204; ensembles made from it hold their own copy, a job that still needs it keeps it from being deleted."""
    rooms = rooms_of(request)
    require_match(request, etag_of(_found(rooms, name)))
    users = [job.id for job in rooms.ledger.open_jobs("generate") if job.spec["base"] == name]
    if users:
        raise StateConflict(f"base {name}: expected one that no unfinished job needs, got {len(users)} that do")
    rooms.bases.remove(name)
    return Response(status_code=204)


def _found(rooms: Rooms, name: str) -> dict[str, Any]:
    known = rooms.bases.names()
    if name not in known:
        raise NotFound(f"base network: expected one of {known[:50]}, got {name[:80]!r}; GET /api/v1/models lists them")
    return base_resource(rooms.bases.info(name))


def _check_headers(request: Request) -> None:
    media = request.headers.get("content-type", MEDIA[0]).partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise UnsupportedMedia(f"Content-Type: expected {MEDIA[0]}, got {media[:40]!r}; send the raw file")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"Content-Encoding: expected none, got {encoding[:40]!r}; send the file as it is")


def _expected_digest(request: Request) -> str:
    """Return the SHA-256 that the client promises, hexadecimal."""
    header = request.headers.get("repr-digest") or request.headers.get("content-digest") or ""
    found = _DIGEST.search(header)
    if found is not None:
        try:
            return base64.b64decode(found[1], validate=True).hex()
        except binascii.Error:
            pass
    raise MalformedRequest(
        "Repr-Digest: expected the SHA-256 of the body as `sha-256=:<base64>:`, got none; "
        "`openssl dgst -sha256 -binary FILE | base64` prints it"
    )


async def _receive(request: Request, path: Path, rooms: Rooms) -> str:
    """Return the SHA-256 of the body after writing it to a file as it comes."""
    digest, count = hashlib.sha256(), 0
    limit, grace = rooms.settings.max_model_bytes, rooms.settings.body_timeout
    loop = asyncio.get_running_loop()
    latest = loop.time() + grace
    try:
        async with asyncio.timeout_at(latest) as patience:
            with path.open("xb") as file:
                async for chunk in request.stream():
                    count += len(chunk)
                    if count > limit:
                        raise TooLarge(f"body: expected at most {limit} bytes, got more; send a smaller network")
                    patience.reschedule(latest + count / SLOWEST)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
    except TimeoutError:
        raise too_slow(grace + count / SLOWEST) from None
    return digest.hexdigest()


def _refuse_flood(rooms: Rooms) -> None:
    rooms.desk.refuse_full_disk()
    held, most = len(rooms.bases.names()), rooms.settings.max_bases
    if held >= most:
        raise Overloaded(f"base networks: expected fewer than {most}, got {held}; delete some", retry_after=60)


def _store(rooms: Rooms, name: str, draft: Path, arch: str, num_classes: int | None, sha256: str) -> Response:
    info, is_new = rooms.bases.add(name, draft, architecture=arch, num_classes=num_classes, sha256=sha256)
    resource = base_resource(info)
    headers = {"ETag": etag_of(resource), "Location": resource["links"]["self"]}
    return JSONResponse(resource, 201 if is_new else 200, headers=headers)
