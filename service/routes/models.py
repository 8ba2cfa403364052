"""`/v2/models/{model}`: metadata, readiness and configuration of every view, with and without a version."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.inference.signature import PLATFORM
from service.openapi import protocol
from service.routes.rooms import rooms_of

router = APIRouter(tags=["inference"])


@router.get(
    "/v2/models/{model}/ready",
    operation_id="model_ready",
    response_model=protocol.ModelReady,
    summary="The model answers",
)
@router.get(
    "/v2/models/{model}/versions/{version}/ready",
    operation_id="model_version_ready",
    response_model=protocol.ModelReady,
    summary="The version answers",
)
async def ready(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """Return 200 when the view can answer; 404 when it is unknown, 503 when it cannot."""
    address = rooms_of(request).pool.resolve(model, version)
    return JSONResponse({"name": address.view.name, "ready": True})


@router.get(
    "/v2/models/{model}/config",
    operation_id="model_config",
    response_model=protocol.ModelConfig,
    summary="Configuration of a model",
)
@router.get(
    "/v2/models/{model}/versions/{version}/config",
    operation_id="model_version_config",
    response_model=protocol.ModelConfig,
    summary="Configuration of a version",
)
async def config(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """Return name, platform, largest request, inputs and outputs in the words of the configuration extension."""
    rooms = rooms_of(request)
    address = rooms.pool.resolve(model, version)
    limit = rooms.settings.max_request_rows
    return JSONResponse(address.signature.to_config(address.view.name, max_rows=limit))


@router.get(
    "/v2/models/{model}",
    operation_id="model_metadata",
    response_model=protocol.ModelMetadata,
    summary="Inputs and outputs of a model",
)
@router.get(
    "/v2/models/{model}/versions/{version}",
    operation_id="model_version_metadata",
    response_model=protocol.ModelMetadata,
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
        "inputs": [spec.to_dict() for spec in address.signature.inputs],
        "outputs": [output.to_dict() for output in address.signature.outputs],
    }
    if address.signature.members is not None:
        described["parameters"] = {"members": address.signature.members, "mode": address.served.mode}
    return JSONResponse(described)
