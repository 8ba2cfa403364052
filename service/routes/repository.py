"""`/v2/repository`: what is stored, in which state, and serving it or not."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.errors import MalformedRequest, MethodRefused
from service.json_body import load_json
from service.openapi import protocol
from service.routes.bodies import read_body
from service.routes.rooms import rooms_of

router = APIRouter(tags=["repository"])
_LIMIT: Final = 64 << 10  # bytes of a body
_PARAMETERS: Final = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "parameters": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"unload_dependents": {"type": "boolean"}},
                        }
                    },
                },
                "example": {},
            }
        },
    }
}
_READY: Final = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"ready": {"type": "boolean", "description": "only those that answer"}},
                },
                "example": {"ready": True},
            }
        },
    }
}
_KNOWN: Final = frozenset({"config", "unload_dependents"})


@router.post(
    "/v2/repository/index",
    operation_id="repository_index",
    response_model=list[protocol.StoredVersion],
    summary="What is stored",
    openapi_extra=_READY,
)
async def index(request: Request) -> JSONResponse:
    """Return every stored version with its state; with `{"ready": true}` only those that answer."""
    body = await _body(request, frozenset({"ready"}))
    ready = body.get("ready", False)
    if not isinstance(ready, bool):
        raise MalformedRequest(f"ready: expected true or false, got {ready!r:.80}; leave it out for everything")
    rows = await rooms_of(request).pool.index()
    return JSONResponse([row for row in rows if not ready or row["state"] == "READY"])


@router.post(
    "/v2/repository/models/{model}/load",
    operation_id="repository_load",
    response_model=protocol.Nothing,
    summary="Serve an ensemble",
    openapi_extra=_PARAMETERS,
)
async def load(request: Request, model: str) -> JSONResponse:
    """Return an empty object once the ensemble answers."""
    _check_parameters(await _body(request, frozenset({"parameters"})))
    await rooms_of(request).pool.load(model)
    return JSONResponse({})


@router.post(
    "/v2/repository/models/{model}/unload",
    operation_id="repository_unload",
    response_model=protocol.Nothing,
    summary="Stop serving an ensemble",
    openapi_extra=_PARAMETERS,
)
async def unload(request: Request, model: str) -> JSONResponse:
    """Return an empty object once what the ensemble was asked is answered and it is gone."""
    _check_parameters(await _body(request, frozenset({"parameters"})))
    await rooms_of(request).pool.unload(model)
    return JSONResponse({})


async def _body(request: Request, keys: frozenset[str]) -> dict[str, Any]:
    """Return the object in the body; an empty body is an empty object."""
    text = await read_body(request, limit=_LIMIT)
    body = load_json(text) if text.strip() else {}
    if not isinstance(body, dict) or body.keys() - keys:
        raise MalformedRequest(f"request: expected an object with no fields but {sorted(keys)}, got others; send {{}}")
    return body


def _check_parameters(body: Mapping[str, Any]) -> None:
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise MalformedRequest("parameters: expected an object, got something else; send {}")
    if any(name.startswith("file:") for name in parameters):
        raise MethodRefused("parameters: expected no files, got some; models are uploaded under /api/v1, not here")
    unknown = sorted(parameters.keys() - _KNOWN)
    if unknown or "config" in parameters:
        got = "config" if "config" in parameters else unknown[0]
        raise MalformedRequest(
            f"parameters: expected at most 'unload_dependents', got {got[:80]!r}; a stored configuration stays as it is"
        )
    if not isinstance(parameters.get("unload_dependents", False), bool):
        raise MalformedRequest("parameters.unload_dependents: expected true or false, got something else; leave it out")
