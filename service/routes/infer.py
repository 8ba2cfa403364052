"""`POST /v2/models/{model}/infer`: one batch through the addressed view, JSON or binary."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.errors import NotReady, Overloaded
from service.inference.codec import BINARY, HEADER, InferAnswer, InferRequest, parse_infer, render_infer
from service.inference.compression import accepted_encoding, compress
from service.observability.outcomes import ClientGone, InferenceCount
from service.routes.infer_bodies import read_head, read_reserved
from service.routes.infer_openapi import DESCRIBED
from service.routes.rooms import Rooms, rooms_of

if TYPE_CHECKING:
    from service.inference.served import Address
    from service.inference.waiting import Answered

router = APIRouter(tags=["inference"])
_LARGE: Final = 100_000  # numbers of a JSON answer; above, it is written off the event loop
_WORTH_COMPRESSING: Final = 4096  # bytes
_BINARY_UNCOMPRESSED: Final = 1 << 20  # bytes of a binary answer that are sent as they are
T = TypeVar("T")


@router.post("/v2/models/{model}/infer", operation_id="infer", summary="Classify a batch", **DESCRIBED)
@router.post(
    "/v2/models/{model}/versions/{version}/infer",
    operation_id="infer_version",
    summary="Classify a batch with one version",
    **DESCRIBED,
)
async def infer(request: Request, model: str, version: str | None = None) -> Response:
    """Return the outputs of the addressed view for one batch."""
    rooms = rooms_of(request)
    with InferenceCount(rooms.instruments) as count:
        if rooms.refusing:
            raise _stopping()
        try:
            address = rooms.pool.resolve(model, version)
            count.addressed(address.view.ensemble, address.view.kind)
            parsed, answer = await _answer(request, address, rooms)
        except ClientDisconnect:
            raise ClientGone from None
        return await _respond(request, address, parsed, answer)


async def _answer(request: Request, address: "Address", rooms: Rooms) -> tuple[InferRequest, "Answered"]:
    settings = rooms.settings
    head = read_head(request, limit=settings.max_body_bytes)
    try:
        reservation = address.reserve(head.announced or 0)
    except Overloaded as error:
        error.unread = not head.is_discarded
        raise
    with reservation:
        body = await read_reserved(
            request, head, reservation, limit=settings.max_body_bytes, timeout=settings.body_timeout
        )
        parsed = await _parse(body, head.json_length, address, rooms)
        del body
        return parsed, await _unless_gone(request, address.infer(parsed, reservation))


async def _parse(body: bytes, json_length: int | None, address: "Address", rooms: Rooms) -> InferRequest:
    def parse() -> InferRequest:
        limit = rooms.settings.max_request_rows
        return parse_infer(body, address.signature, max_rows=limit, json_length=json_length)

    return await asyncio.to_thread(parse) if len(body) > rooms.settings.offload_bytes else parse()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; cancel it when the client leaves first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _respond(request: Request, address: "Address", parsed: InferRequest, answer: "Answered") -> Response:
    def render() -> InferAnswer:
        return render_infer(address.view.name, address.version, parsed, answer.results, address.signature)

    numbers = sum(answer.results[name].size for name in parsed.outputs if name not in parsed.binary_outputs)
    rendered = await asyncio.to_thread(render) if numbers > _LARGE else render()
    headers = {"Server-Timing": f"queue;dur={1e3 * answer.queued:.3f}, compute;dur={1e3 * answer.computed:.3f}"}
    if rendered.json_length is not None:
        headers[HEADER] = str(rendered.json_length)
    body = rendered.body
    encoding = accepted_encoding(request.headers.get("accept-encoding", ""))
    least = _BINARY_UNCOMPRESSED if rendered.media_type == BINARY else _WORTH_COMPRESSING
    if encoding is not None and len(body) >= least:
        body = await asyncio.to_thread(compress, body, encoding)
        headers |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    return Response(body, media_type=rendered.media_type, headers=headers)


def _stopping() -> NotReady:
    error = NotReady("the service is stopping; send the request again", retry_after=2)
    error.reason = "draining"
    error.unread = True
    return error
