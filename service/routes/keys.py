"""`/api/v1/keys`: make, list and revoke keys; for `admin` keys only."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from service.json_body import load_json
from service.openapi import catalogue
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes.bodies import read_body
from service.routes.etags import tagged
from service.routes.rooms import Rooms, rooms_of
from service.security.identity import identity_of
from service.security.keys import Key, Order, as_scopes
from service.security.scopes import Scope
from service.store.clock import rfc3339

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
_LIMIT: Final = 16 << 10  # bytes of a body
_SECRET: Final = {"Cache-Control": "no-store"}


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"examples": [{"name": "ci", "scopes": ["infer", "read"]}]},
    )

    name: str = Field(min_length=1, max_length=64, description="what it is for")
    scopes: list[str] = Field(min_length=1, max_length=8, description="of infer, read, jobs, admin")
    owner: str | None = Field(None, max_length=64, description="whose resources it sees and makes; unset: its name")
    rate: float | None = Field(None, gt=0, le=1e6, description="requests per second; unset: the service's own limit")


_BODY: Final = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": NewKey.model_json_schema()}}}
}


@router.get(
    "",
    operation_id="list_keys",
    response_model=Page[catalogue.Key],
    summary="Keys, oldest first, without the keys themselves",
    responses=also(304),
)
async def page(request: Request) -> Response:
    """Return what is known of every key, revoked ones too."""
    keys = await asyncio.to_thread(rooms_of(request).doorkeeper.ring.store.all)
    return tagged(request, {"data": [_resource(key) for key in keys], "has_more": False, "next_cursor": None})


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    response_model=catalogue.NewKey,
    summary="Make a key",
    openapi_extra=_BODY,
)
async def create(request: Request) -> JSONResponse:
    """Return the new key; this answer is the only place where it can be read."""
    rooms = rooms_of(request)
    wanted = _parse(await read_body(request, limit=_LIMIT))
    order = Order(wanted.name, as_scopes(wanted.scopes), wanted.owner, wanted.rate)
    minted = await asyncio.to_thread(rooms.doorkeeper.ring.store.create, order)
    _changed(request, rooms, "key made", minted.key)
    location = f"/api/v1/keys/{minted.key.id}"
    return JSONResponse({**_resource(minted.key), "key": minted.token}, 201, headers={**_SECRET, "Location": location})


@router.delete("/{key_id}", status_code=204, operation_id="revoke_key", summary="End a key")
async def revoke(request: Request, key_id: str) -> Response:
    """Return nothing once the key is of no use; revoking it twice is harmless."""
    rooms = rooms_of(request)
    key = await asyncio.to_thread(rooms.doorkeeper.ring.store.revoke, key_id)
    _changed(request, rooms, "key revoked", key)
    return Response(status_code=204)


def _parse(body: bytes) -> NewKey:
    try:
        return NewKey.model_validate(load_json(body))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def _changed(request: Request, rooms: Rooms, event: str, key: Key) -> None:
    rooms.doorkeeper.ring.outdate()
    by = identity_of(request).key
    rooms.doorkeeper.audit.note(event, key=key.id, name=key.name, owner=key.owner, scopes=_words(key), by=by)


def _resource(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "owner": key.owner,
        "scopes": _words(key),
        "rate": key.rate,
        "created_at": rfc3339(key.created_at),
        "revoked_at": rfc3339(key.revoked_at),
    }


def _words(key: Key) -> list[str]:
    return [scope.value for scope in Scope if scope in key.scopes]
