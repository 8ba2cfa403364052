"""`/metrics`: every counter of the web process as Prometheus text."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.observability.metrics import CONTENT_TYPE, exposition
from service.observability.scrape import families
from service.routes.rooms import rooms_of

router = APIRouter(tags=["operations"])


@router.get("/metrics", operation_id="metrics", summary="Counters for monitoring", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the metrics, queues and states as they are now."""
    return Response(exposition(families(rooms_of(request))), headers={"Content-Type": CONTENT_TYPE})
