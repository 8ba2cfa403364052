"""Compressed bodies: read against a limit, chunk by chunk, so that a small body cannot become a huge one."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from service.errors import MalformedRequest, TooLarge, UnsupportedMedia

_WINDOW: Final[Mapping[str, int]] = MappingProxyType({"gzip": 31, "deflate": 15})  # deflate is the zlib format
_LEVEL: Final = 1
_COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        "gzip": lambda body: gzip.compress(body, _LEVEL, mtime=0),
        "deflate": lambda body: zlib.compress(body, _LEVEL),
    }
)
_STEP: Final = 1 << 20


def check_encoding(encoding: str) -> str | None:
    """Return the encoding of a body, None for a plain one.

    Raises:
        UnsupportedMedia: it is not read here.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _WINDOW:
        raise UnsupportedMedia(
            f"Content-Encoding: expected one of {list(_WINDOW)} or none, got {name[:40]!r}; send the body as it is"
        )
    return name


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return the plain body.

    Args:
        body: as it came.
        encoding: "gzip" or "deflate".
        limit: bytes of the plain body.

    Raises:
        MalformedRequest: it is not of that encoding, ends early, or goes on after its end.
        TooLarge: the plain body is longer than `limit`.
    """
    stream = zlib.decompressobj(_WINDOW[encoding])
    plain = bytearray()
    try:
        rest = body
        while not stream.eof:
            piece = stream.decompress(rest, min(_STEP, limit + 1 - len(plain)))
            rest = stream.unconsumed_tail
            plain += piece
            if len(plain) > limit:
                raise TooLarge(f"body: expected at most {limit} bytes once decompressed, got more; send less at once")
            if not piece:
                break
    except zlib.error:
        raise MalformedRequest(f"body: expected {encoding} as announced, got other bytes; compress it again") from None
    if not stream.eof or stream.unused_data:
        raise MalformedRequest(f"body: expected one whole {encoding} stream, got less or more; compress it again")
    return bytes(plain)


def accepted_encoding(header: str) -> str | None:
    """Return the first encoding of an Accept-Encoding header that is offered here; None for a plain answer."""
    for part in header.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in _COMPRESS and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name.strip()
    return None


def compress(body: bytes, encoding: str) -> bytes:
    """Return the body in an offered encoding."""
    return _COMPRESS[encoding](body)
