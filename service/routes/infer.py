"""`/v2/models`: metadata, readiness and inference of every view, with and without a version."""

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.errors import MalformedRequest, NotReady
from service.inference.codec import InferRequest, parse_infer, render_infer
from service.inference.signature import PLATFORM
from service.routes.bodies import read_body
from service.routes.rooms import Rooms, rooms_of

if TYPE_CHECKING:
    from service.inference.pool import Address

router = APIRouter(tags=["inference"])
_LARGE_ANSWER = 100_000  # numbers; above, the answer is written off the event loop

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["inputs"]},
                "example": {
                    "inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}]
                },
            }
        },
    }
}


@router.post("/v2/models/{model}/infer", operation_id="infer", summary="Classify a batch", openapi_extra=_BODY)
@router.post(
    "/v2/models/{model}/versions/{version}/infer",
    operation_id="infer_version",
    summary="Classify a batch with one version",
    openapi_extra=_BODY,
)
async def infer(request: Request, model: str, version: str | None = None) -> Response:
    """Return the outputs of the addressed view for one batch."""
    rooms = rooms_of(request)
    if rooms.draining:
        raise NotReady("the service is stopping; send the request again", retry_after=2)
    if "inference-header-content-length" in request.headers:
        raise MalformedRequest(
            "Inference-Header-Content-Length: expected none, the binary extension is not offered; send JSON"
        )
    body = await read_body(request, limit=rooms.settings.max_body_bytes)
    address = rooms.pool.resolve(model, version)
    parsed = await _parse(body, address, rooms)
    results = await address.infer(parsed.rows)
    answer = (address.view.name, address.version, parsed, results, address.signature)
    large = sum(results[name].size for name in parsed.outputs) > _LARGE_ANSWER
    text = await asyncio.to_thread(render_infer, *answer) if large else render_infer(*answer)
    return Response(text, media_type="application/json")


@router.get("/v2/models/{model}/ready", operation_id="model_ready", summary="The model answers")
@router.get(
    "/v2/models/{model}/versions/{version}/ready", operation_id="model_version_ready", summary="The version answers"
)
async def ready(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """Return 200 when the view can answer; 404 when it is unknown, 503 when it cannot."""
    address = rooms_of(request).pool.resolve(model, version)
    return JSONResponse({"name": address.view.name, "ready": True})


@router.get("/v2/models/{model}", operation_id="model_metadata", summary="Inputs and outputs of a model")
@router.get(
    "/v2/models/{model}/versions/{version}",
    operation_id="model_version_metadata",
    summary="Inputs and outputs of a version",
)
async def metadata(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """Return name, versions, platform, inputs and outputs of the addressed view."""
    pool = rooms_of(request).pool
    address = pool.resolve(model, version)
    described: dict[str, Any] = {
        "name": address.view.name,
        "versions": pool.versions(address.view.ensemble),
        "platform": PLATFORM,
        "inputs": [address.signature.input.to_dict()],
        "outputs": [output.to_dict() for output in address.signature.outputs],
    }
    return JSONResponse(described)


async def _parse(body: bytes, address: "Address", rooms: Rooms) -> InferRequest:
    limit = rooms.settings.max_request_rows
    if len(body) > rooms.settings.offload_bytes:
        return await asyncio.to_thread(parse_infer, body, address.signature, max_rows=limit)
    return parse_infer(body, address.signature, max_rows=limit)
