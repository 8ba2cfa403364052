"""Reading request bodies against a limit, before anything is parsed."""

import asyncio

from starlette.requests import Request

from service.errors import MalformedRequest, TooLarge, UnsupportedMedia
from service.routes.rooms import rooms_of


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the whole body.

    Args:
        request: the request, not read yet.
        limit: bytes; the announced length is judged before the first byte is read.

    Raises:
        TooLarge: the body is longer, announced or not.
        MalformedRequest: the announced length is no number, or the body does not arrive in time.
        UnsupportedMedia: the body is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"Content-Encoding: expected none, got {encoding[:40]!r}; send the body as it is")
    announced_length(request, limit=limit)
    timeout = rooms_of(request).settings.body_timeout
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                body += chunk
                _check(len(body), limit)
    except TimeoutError:
        raise too_slow(timeout) from None
    return bytes(body)


def too_slow(timeout: float) -> MalformedRequest:
    """Return the refusal of a body that does not arrive in time; the connection is closed after it.

    Args:
        timeout: seconds it had.
    """
    error = MalformedRequest(
        f"body: expected all of it within {timeout:g} s, got less; send it faster, or less at once"
    )
    error.unread = True
    return error


def announced_length(request: Request, *, limit: int) -> int | None:
    """Return the length that a request announces, None where it announces none.

    Args:
        request: the request, not read yet.
        limit: bytes.

    Raises:
        TooLarge: it is longer.
        MalformedRequest: it is no number.
    """
    announced = request.headers.get("content-length")
    if announced is None:
        return None
    if not announced.isascii() or not announced.isdigit() or len(announced) > 18:
        raise MalformedRequest(f"Content-Length: expected a number of bytes, got {announced[:40]!r}")
    _check(int(announced), limit)
    return int(announced)


def _check(count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(f"body: expected at most {limit} bytes, got {count} or more; send less at once")
