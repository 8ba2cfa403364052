"""`/v2/models/stats`: cumulative counters of one view or of all, since their model was loaded."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.openapi import protocol
from service.routes.rooms import rooms_of

router = APIRouter(tags=["inference"])


@router.get(
    "/v2/models/stats",
    operation_id="all_statistics",
    response_model=protocol.Statistics,
    summary="Counters of every model",
)
async def all_statistics(request: Request) -> JSONResponse:
    """Return the counters of every view of every version that answers."""
    return JSONResponse({"model_stats": rooms_of(request).pool.statistics()})


@router.get(
    "/v2/models/{model}/stats",
    operation_id="model_statistics",
    response_model=protocol.Statistics,
    summary="Counters of a model",
)
@router.get(
    "/v2/models/{model}/versions/{version}/stats",
    operation_id="model_version_statistics",
    response_model=protocol.Statistics,
    summary="Counters of a version",
)
async def model_statistics(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """Return the counters of one view."""
    address = rooms_of(request).pool.resolve(model, version)
    return JSONResponse({"model_stats": [address.statistics.to_dict(address.view.name, address.version)]})
