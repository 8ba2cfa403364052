"""`/api/v1/models`, `/datasets`, `/capabilities`: what a request may name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.errors import UnknownModel
from service.routes.health import product_version
from service.routes.rooms import rooms_of

router = APIRouter(prefix="/api/v1", tags=["catalogue"])


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this installation can do, collected at start; the architectures when first asked, since they load much."""

    suites: Mapping[str, Any]
    threat_models: tuple[str, ...]
    norms: tuple[str, ...]
    datasets: tuple[str, ...]
    architectures: Callable[[], tuple[str, ...]]
    modes: tuple[str, ...]
    versions: Mapping[str, str]
    radii: Mapping[str, Mapping[str, tuple[float, ...]]]  # channels of an input -> norm -> the usual radii


@router.get("/models", operation_id="list_models", summary="Ensembles that are stored")
def models(request: Request) -> JSONResponse:
    """Return every ensemble that answers, and those that cannot with the reason."""
    pool = rooms_of(request).pool
    ready = [
        {**info.model_dump(mode="json"), "ready": True, "reason": None, "versions": pool.versions(info.name)}
        for info in pool.loaded()
    ]
    broken = [
        {"name": key.partition("/")[0], "version": key.partition("/")[2], "ready": False, "reason": reason}
        for key, reason in pool.broken().items()
    ]
    return JSONResponse({"data": ready + broken, "has_more": False, "next_cursor": None})


@router.get("/models/{name}", operation_id="get_model", summary="One stored ensemble")
def model(request: Request, name: str) -> JSONResponse:
    """Return the newest answering version of an ensemble."""
    pool = rooms_of(request).pool
    for info in pool.loaded():
        if info.name == name:
            plans = pool.plans(name, info.version)
            shown = {**info.model_dump(mode="json"), "ready": True, "versions": pool.versions(name), "plans": plans}
            return JSONResponse(shown)
    raise UnknownModel(f"model: expected one of {[info.name for info in pool.loaded()]}, got {name[:120]!r}")


@router.get("/datasets", operation_id="list_datasets", summary="Data sets a job may name")
def datasets(request: Request) -> JSONResponse:
    """Return the names of the data sets."""
    names = rooms_of(request).capabilities.datasets
    return JSONResponse({"data": [{"name": name} for name in names], "has_more": False, "next_cursor": None})


@router.get("/capabilities", operation_id="capabilities", summary="Suites, data sets, limits and versions")
def capabilities(request: Request) -> JSONResponse:
    """Return what this installation can do."""
    rooms = rooms_of(request)
    found, settings = rooms.capabilities, rooms.settings
    return JSONResponse(
        {
            "suites": dict(found.suites),
            "threat_models": list(found.threat_models),
            "norms": list(found.norms),
            "datasets": list(found.datasets),
            "architectures": list(found.architectures()),
            "modes": list(found.modes),
            "limits": {
                "max_request_rows": settings.max_request_rows,
                "max_body_bytes": settings.max_body_bytes,
                "max_job_bytes": settings.max_job_bytes,
                "max_job_samples": settings.max_job_samples,
                "max_open_jobs": settings.max_open_jobs,
            },
            "device": settings.device,
            "versions": {"levelset": product_version(), **found.versions},
        }
    )
