"""`/api/v1/datasets`, `/capabilities`, `/schemas`: what a request may name, and what a report is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.openapi import catalogue
from service.openapi.answers import also
from service.openapi.shapes import Page
from service.routes.etags import tagged
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
    attacks: Mapping[str, Any]
    recipes: Mapping[str, Any]
    groups: Mapping[str, Any]
    job_types: tuple[str, ...]
    report_schema: str
    versions: Mapping[str, str]
    radii: Mapping[str, Mapping[str, tuple[float, ...]]]  # channels of an input -> norm -> the usual radii


@router.get(
    "/datasets",
    operation_id="list_datasets",
    response_model=Page[catalogue.DataSetName],
    summary="Data sets a job may name",
    responses=also(304),
)
def datasets(request: Request) -> Response:
    """Return the names of the data sets."""
    names = rooms_of(request).capabilities.datasets
    return tagged(request, {"data": [{"name": name} for name in names], "has_more": False, "next_cursor": None})


@router.get(
    "/capabilities",
    operation_id="capabilities",
    response_model=catalogue.Capabilities,
    summary="Suites, data sets, limits and versions",
    responses=also(304),
)
def capabilities(request: Request) -> Response:
    """Return what this installation can do."""
    rooms = rooms_of(request)
    found, settings = rooms.capabilities, rooms.settings
    return tagged(
        request,
        {
            "job_types": list(found.job_types),
            "suites": dict(found.suites),
            "attacks": dict(found.attacks),
            "recipes": dict(found.recipes),
            "groups": dict(found.groups),
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
                "max_model_bytes": settings.max_model_bytes,
                "max_event_streams": settings.max_streams,
            },
            "device": settings.device,
            "versions": {"levelset": product_version(), **found.versions},
        },
    )


@router.get(
    "/schemas/report-1.json",
    operation_id="report_schema",
    summary="JSON schema of a report",
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}},
    response_class=Response,
)
def report_schema(request: Request) -> Response:
    """Return the schema that every report of the major version 1 fits."""
    return Response(rooms_of(request).capabilities.report_schema, media_type="application/schema+json")
