"""Entity tags: what a resource is now, and whether a client speaks about that."""

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from service.errors import PreconditionFailed
from service.store.canonical import digest


def etag_of(value: Any) -> str:
    """Return the strong tag of a resource, a JSON value."""
    return f'"{digest(value)[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Return whether the client has the resource already: `If-None-Match` names its tag, or any."""
    return _names(request.headers.get("if-none-match"), etag)


def tagged(request: Request, content: Any, *, tag: str | None = None) -> Response:
    """Return a resource or a list with its tag, or 304 where the client has it already.

    Args:
        request: what came.
        content: JSON value.
        tag: where not everything in the content counts; None tags all of it.
    """
    headers = {"ETag": tag or etag_of(content), "Cache-Control": "private, no-cache"}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return JSONResponse(content, headers=headers)


def require_match(request: Request, etag: str) -> None:
    """Return nothing where the client speaks about the resource as it is now, or does not say.

    Raises:
        PreconditionFailed: `If-Match` names other tags.
    """
    wanted = request.headers.get("if-match")
    if wanted is not None and not _names(wanted, etag):
        raise PreconditionFailed(f"If-Match: expected {etag}, the resource as it is now, got another; read it again")


def _names(header: str | None, etag: str) -> bool:
    tags = [tag.strip() for tag in (header or "").split(",")[:64]]
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags] or "*" in tags
