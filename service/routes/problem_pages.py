"""`/problems/{status}`: what the `type` of a problem points to, a short page that explains the status."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from service.errors import NotFound
from service.web.pages import render_error
from service.web.policy import PAGE_POLICY

router = APIRouter(include_in_schema=False)
WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "400": "The request cannot be read: its syntax, a header, a query, a cursor. Send it as /docs describes.",
        "401": "No key, or none that is good. Send `Authorization: Bearer <key>`, or sign in at /login.",
        "403": "The key lacks the scope, or the Host or Origin is foreign. Ask the operator for another key.",
        "404": "What was named is not there, or belongs to another owner. The lists under /api/v1 say what there is.",
        "405": "The path does not have this method; the header Allow names those it has.",
        "406": "None of the accepted forms exists. Accept JSON, HTML or Markdown of a report, JSON of everything else.",
        "409": "The state of the resource forbids this, or something else needs it. Read it, then decide.",
        "410": "The record is there, its file is missing or damaged. Run the job again.",
        "412": "The resource has changed since its ETag was read. Read it again.",
        "413": "More bytes, rows or pixels than are taken. GET /api/v1/capabilities names the limits.",
        "415": "A content type or a compression that is not read. Name the one that /docs shows.",
        "422": "The request can be read, but asks for what cannot be. `errors` names the fields at fault.",
        "429": "Too often or too much at once. Come back after the seconds in Retry-After.",
        "500": "The service failed; its log has the reason under the problem's request_id. Tell the operator.",
        "503": "Models are being loaded, or the service is stopping. Come back after the seconds in Retry-After.",
        "504": "There was no answer by the deadline. Ask for less, or later.",
    }
)


@router.get("/problems/{status}")
def explain(request: Request, status: str) -> HTMLResponse:
    """Return the page of one status."""
    if status not in WORDS:
        raise NotFound(f"problem: expected one of {sorted(WORDS)}, got {status[:20]!r}; the type of a problem names it")
    page = render_error(int(status), HTTPStatus(int(status)).phrase, WORDS[status])
    return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})
