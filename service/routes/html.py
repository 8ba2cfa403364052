"""What pages have in common on the wire: their policy, and the forms they post."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.responses import HTMLResponse, Response

from service.errors import MalformedRequest, UnsupportedMedia
from service.routes.bodies import read_body
from service.web.policy import PAGE_POLICY

FORM: Final = "application/x-www-form-urlencoded"
LARGEST: Final = 8 << 10  # bytes of a posted form
FIELDS: Final = 32
HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-store",
    # Stricter, and a browser without script posts our own forms with the origin `null`, which the gate refuses.
    "Referrer-Policy": "same-origin",
}


def page_response(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a page under the policy of pages, never stored by a cache."""
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a posted form.

    Raises:
        UnsupportedMedia: the body is no form.
        MalformedRequest: it is damaged or has too many fields.
        TooLarge: it is too long.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != FORM:
        raise UnsupportedMedia(f"Content-Type: expected {FORM}, got {media[:40]!r}; send the page's own form")
    body = await read_body(request, limit=LARGEST)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, strict_parsing=bool(body)))
    except ValueError:
        raise MalformedRequest(
            f"body: expected a form of at most {FIELDS} fields, got something else; send the page's own form"
        ) from None
