"""`/v2/health` and `/v2`: is the server there, does it take work, what does it speak."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.openapi import protocol
from service.routes.rooms import Rooms, rooms_of

router = APIRouter(tags=["health"])
# An extension of the protocol is listed while a test for it passes.
EXTENSIONS = ("binary_tensor_data", "model_repository", "statistics", "parameters", "model_configuration")


def is_ready(rooms: Rooms) -> bool:
    """Return whether new work is taken: what is stored was loaded, and no stop is under way."""
    return rooms.pool.scanned and not rooms.pool.lost and not rooms.draining


def product_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("levelset")
    except PackageNotFoundError:
        return "0"


@router.get("/v2/health/live", operation_id="server_live", response_model=protocol.Live, summary="The process answers")
async def live() -> JSONResponse:
    """Return that the event loop answers."""
    return JSONResponse({"live": True})


@router.get(
    "/v2/health/ready",
    operation_id="server_ready",
    response_model=protocol.Ready,
    summary="The service takes work",
    responses={503: {"description": "models are being loaded, or the service is stopping"}},
)
async def ready(request: Request) -> JSONResponse:
    """Return 200 when requests are taken, 503 while models load or the service drains."""
    rooms = rooms_of(request)
    if is_ready(rooms):
        return JSONResponse({"live": True, "ready": True})
    reason = "the service is stopping" if rooms.draining or rooms.pool.lost else "models are being loaded"
    return JSONResponse({"error": reason, "live": True, "ready": False}, 503, headers={"Retry-After": "1"})


@router.get(
    "/v2/health/startup",
    operation_id="server_startup",
    response_model=protocol.Started,
    summary="Everything stored was tried once",
    responses={503: {"description": "models are being loaded"}},
)
async def startup(request: Request) -> JSONResponse:
    """Return 200 once every stored model was loaded or found damaged, whatever happens later; 503 before."""
    if rooms_of(request).pool.scanned:
        return JSONResponse({"live": True, "started": True})
    problem = {"error": "models are being loaded", "live": True, "started": False}
    return JSONResponse(problem, 503, headers={"Retry-After": "1"})


@router.get(
    "/v2",
    operation_id="server_metadata",
    response_model=protocol.ServerMetadata,
    summary="Name, version and protocol extensions",
)
@router.get("/v2/", include_in_schema=False)
async def metadata() -> JSONResponse:
    """Return the server's name, version and protocol extensions."""
    return JSONResponse({"name": "levelset", "version": product_version(), "extensions": list(EXTENSIONS)})
