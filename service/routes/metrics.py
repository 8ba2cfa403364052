"""`/metrics`: every counter of the web process and of the workers as Prometheus text."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.observability.metrics import CONTENT_TYPE, exposition
from service.observability.scrape import families
from service.routes.rooms import rooms_of

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Counters for monitoring",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Return the metrics, queues and states as they are now."""
    rooms = rooms_of(request)
    numbers = await asyncio.to_thread(rooms.ledger.numbers)
    return Response(exposition(families(rooms, numbers)), headers={"Content-Type": CONTENT_TYPE})
