"""Files over HTTP: whole or one range of bytes, checked by their digest, harmless to open in a browser."""

import re
from typing import Final

from fastapi import Request
from starlette.responses import Response

from service.routes.etags import is_known
from service.store.artifacts import ArtifactStore

#: A file of ours may be opened in a tab: it loads nothing from elsewhere and runs nothing.
POLICY: Final = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def file_response(request: Request, store: ArtifactStore, sha256: str, media_type: str, name: str) -> Response:
    """Return a stored file, or the one range of it that was asked for.

    Args:
        request: what came; several ranges at once, or one that is none, are answered with the whole file.
        store: where it lies.
        sha256: its digest.
        media_type: of its bytes.
        name: under which a browser saves it.

    Raises:
        Gone: it is missing.
        DamagedArtifact: it is damaged.
    """
    headers = {
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": POLICY,
        "Content-Disposition": f'inline; filename="{name}"',
    }
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = store.get(sha256)
    span = _span(request, len(data), headers["ETag"])
    if span is None:
        return Response(data, media_type=media_type, headers=headers)
    start, stop = span
    if start >= stop:
        unsatisfied = {**headers, "Content-Range": f"bytes */{len(data)}"}
        return Response(status_code=416, headers=unsatisfied)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Response(data[start:stop], 206, media_type=media_type, headers=headers)


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return [start, stop) of the one range asked for; None for the whole file."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range")
    if match is None or not any(match.groups()) or (condition is not None and condition != etag):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size if int(last) else 0
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < int(first):
        return None
    return int(first), stop
