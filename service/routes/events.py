"""`/api/v1/jobs/{id}/events`: what happened to a job, as pages or as a stream that can be picked up again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import MalformedRequest, StateConflict
from service.jobs.states import TERMINAL, JobState
from service.openapi import jobs
from service.openapi.answers import also
from service.routes.resources import event_resource
from service.routes.rooms import Rooms, rooms_of
from service.routes.streams import Place
from service.security.identity import owner_of
from service.store.tables import Job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
LOOK: Final = 0.3  # seconds between looks for new events
HEARTBEAT: Final = 15.0
PAGE: Final = 200


@router.get(
    "/{job_id}/events",
    operation_id="job_events",
    response_model=jobs.EventPage,
    summary="Events of a job, as JSON or as a stream",
    responses=also(409)
    | {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "nothing comes any more: the job is over"},
    },
)
async def events(
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a page of events, or with `Accept: text/event-stream` the events as they come."""
    rooms = rooms_of(request)
    job = await asyncio.to_thread(rooms.ledger.get, job_id, owner=owner_of(request))
    start = _position(job, last_event_id, after)
    if "text/event-stream" in request.headers.get("accept", ""):
        if JobState(job.state) in TERMINAL and start >= job.last_seq:
            return Response(status_code=204)
        place = rooms.streams.enter(owner_of(request))
        return _EventStream(_stream(rooms, job, start), place)
    found = await asyncio.to_thread(rooms.ledger.events, job_id, after=start, limit=limit + 1)
    shown = [event_resource(event) for event in found[:limit]]
    more = len(found) > limit
    return JSONResponse({"data": shown, "has_more": more, "next_after": shown[-1]["seq"] if shown else start})


def _position(job: Job, last_event_id: str | None, after: int) -> int:
    if last_event_id is None:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise MalformedRequest(f"Last-Event-ID: expected a sequence number, got {last_event_id[:40]!r}")
    if int(last_event_id) > job.last_seq:
        raise StateConflict(f"Last-Event-ID: expected at most {job.last_seq}, the newest event, got {last_event_id}")
    return int(last_event_id)


class _EventStream(StreamingResponse):
    """A stream that gives its place back when it ends, however it ends."""

    def __init__(self, content: AsyncIterator[str], place: Place) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        with self._place:
            await super().__call__(scope, receive, send)


async def _stream(rooms: Rooms, job: Job, after: int) -> AsyncIterator[str]:
    """Yield every event after `after` as it comes, up to the one that ends the job; a retried job goes on."""
    yield "retry: 2000\n\n"
    spoken = time.monotonic()
    ended = JobState(job.state) in TERMINAL
    while not rooms.draining:
        found = await asyncio.to_thread(rooms.ledger.events, job.id, after=after, limit=PAGE)
        for event in found:
            after, spoken = event.seq, time.monotonic()
            resource = event_resource(event)
            yield _message(resource)
            ended = ended or _is_last(resource)
        if ended:
            job = await asyncio.to_thread(rooms.ledger.get, job.id, owner=job.owner)
            ended = JobState(job.state) in TERMINAL
            if ended and after >= job.last_seq:
                return
        if time.monotonic() - spoken > HEARTBEAT:
            spoken = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK)


def _message(event: dict[str, Any]) -> str:
    return f"id: {event['seq']}\nevent: {event['kind']}\ndata: {json.dumps(event, allow_nan=False)}\n\n"


def _is_last(event: dict[str, Any]) -> bool:
    return event["kind"] == "state" and event["data"].get("state") in TERMINAL
