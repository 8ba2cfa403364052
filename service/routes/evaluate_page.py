"""`/evaluate`: the form of a new evaluation, and its answer where no script hands it in as JSON."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.errors import MalformedRequest, Overloaded, UnprocessableRequest, UnsupportedMedia
from service.jobs.specs import EvaluateJob
from service.routes.bodies import read_body
from service.routes.rooms import Rooms, rooms_of
from service.routes.wording import sentence
from service.security.identity import owner_of
from service.web.forms import evaluate_form, specification
from service.web.pages import render_evaluate
from service.web.policy import PAGE_POLICY

router = APIRouter(include_in_schema=False)
FORM: Final = "application/x-www-form-urlencoded"
LARGEST: Final = 8 << 10  # bytes of a posted form
FIELDS: Final = 32


@router.get("/evaluate")
def form(request: Request) -> Response:
    """Return the empty form; the query may fill fields, for instance `?target=digits`."""
    return _form(rooms_of(request), dict(request.query_params))


@router.post("/evaluate")
async def submit(request: Request) -> Response:
    """Return the way to the page of the queued job, or the form with what is wrong."""
    fields = await read_form(request)
    return await asyncio.to_thread(_submit, rooms_of(request), owner_of(request), fields)


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


def _submit(rooms: Rooms, owner: str, fields: Mapping[str, str]) -> Response:
    try:
        order = EvaluateJob.model_validate(specification(fields))
        created = rooms.desk.submit(order, owner=owner, key=None)
    except ValidationError as error:
        found = {".".join(map(str, item["loc"])): sentence(dict(item)) for item in error.errors()[:FIELDS]}
        return _form(rooms, fields, found, 422)
    except UnprocessableRequest as error:
        return _form(rooms, fields, {error.field or "": str(error)}, 422)
    except Overloaded as error:
        return _form(rooms, fields, {"": str(error)}, 429, {"Retry-After": str(error.retry_after)})
    return RedirectResponse(f"/jobs/{created.job.id}", 303)


def _form(
    rooms: Rooms,
    values: Mapping[str, str],
    problems: Mapping[str, str] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    found = rooms.capabilities
    offers: dict[str, Any] = {
        "datasets": found.datasets,
        "suites": found.suites,
        "norms": found.norms,
        "modes": found.modes,
        "radii": found.radii,
    }
    page = render_evaluate(evaluate_form(rooms.pool.loaded(), offers, values=values, problems=problems))
    policy = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(page, status, headers={**policy, **(headers or {})})
