"""The body of an inference request: judged by its head, reserved in the queue, read, decompressed."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from service.errors import MalformedRequest, TooLarge
from service.inference.codec import HEADER, read_json_length
from service.inference.compression import check_encoding, decompress
from service.routes.bodies import too_slow

if TYPE_CHECKING:
    from service.inference.admission import Reservation

DISCARDED: Final = 1 << 20  # bytes of an unread body that the server throws away to keep its connection


@dataclass(frozen=True, slots=True)
class BodyHead:
    """What the headers say about a body.

    Attributes:
        announced: its bytes on the wire; None where it comes in chunks.
        encoding: "gzip" or "deflate"; None for a plain one.
        json_length: bytes of the JSON part; None where all of it is JSON.
    """

    announced: int | None
    encoding: str | None
    json_length: int | None

    @property
    def is_discarded(self) -> bool:
        """Whether the connection outlives a refusal that leaves the body unread."""
        return self.announced is not None and self.announced <= DISCARDED


def read_head(request: Request, *, limit: int) -> BodyHead:
    """Return what the headers of an inference request say, before a byte of its body is read.

    Args:
        request: not read yet.
        limit: bytes a body may have.

    Raises:
        MalformedRequest: a header is no number, or came twice.
        TooLarge: the announced length is above the limit.
        UnsupportedMedia: the body is compressed in a way that is not read.
    """
    if len(request.headers.getlist(HEADER)) > 1:
        raise MalformedRequest(f"{HEADER}: expected it at most once, got it twice; send the bytes of the JSON part")
    encoding = check_encoding(request.headers.get("content-encoding", ""))
    announced = request.headers.get("content-length")
    if announced is not None and not (announced.isascii() and announced.isdigit()):
        raise MalformedRequest(f"Content-Length: expected a number of bytes, got {announced[:40]!r}; count the body")
    length = None if announced is None else int(announced[:20])
    if length is not None:
        _check(length, limit)
    return BodyHead(length, encoding, read_json_length(request.headers.get(HEADER)))


async def read_reserved(
    request: Request, head: BodyHead, reservation: "Reservation", *, limit: int, timeout: float
) -> bytes:
    """Return the whole plain body; every byte is reserved in the queue before it is kept.

    Args:
        request: not read yet.
        head: what its headers say.
        reservation: of the announced bytes; it grows with a body that announces none.
        limit: bytes, before and after decompression.
        timeout: seconds the body may take to arrive.

    Raises:
        MalformedRequest: it does not arrive in time, or cannot be decompressed.
        TooLarge: it is longer than the limit.
        Overloaded: it does not fit into the queue.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                body += chunk
                _check(len(body), limit)
                if head.announced is None:
                    reservation.resize(len(body))
    except TimeoutError:
        raise too_slow(timeout) from None
    if head.encoding is None:
        return bytes(body)
    plain = await asyncio.to_thread(decompress, bytes(body), head.encoding, limit=limit)
    reservation.resize(len(plain))
    return plain


def _check(count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(f"body: expected at most {limit} bytes, got {count} or more; send less at once")
