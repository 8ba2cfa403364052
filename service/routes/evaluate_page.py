"""`/evaluate`: the form of a new evaluation, and its answer where no script hands it in as JSON."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from service.errors import Overloaded, UnprocessableRequest
from service.jobs.specs import EvaluateJob
from service.routes.html import FIELDS, page_response, read_form
from service.routes.rooms import rooms_of
from service.routes.wording import sentence
from service.security.identity import csrf_of, owner_of
from service.web.forms import evaluate_form, specification
from service.web.pages import render_evaluate

router = APIRouter(include_in_schema=False)


@router.get("/evaluate")
def form(request: Request) -> Response:
    """Return the empty form; the query may fill fields, for instance `?target=digits`."""
    return _form(request, dict(request.query_params))


@router.post("/evaluate")
async def submit(request: Request) -> Response:
    """Return the way to the page of the queued job, or the form with what is wrong."""
    return await asyncio.to_thread(_submit, request, await read_form(request))


def _submit(request: Request, fields: Mapping[str, str]) -> Response:
    try:
        order = EvaluateJob.model_validate(specification(fields))
        created = rooms_of(request).desk.submit(order, owner=owner_of(request), key=None)
    except ValidationError as error:
        found = {".".join(map(str, item["loc"])): sentence(dict(item)) for item in error.errors()[:FIELDS]}
        return _form(request, fields, found, 422)
    except UnprocessableRequest as error:
        return _form(request, fields, {error.field or "": str(error)}, 422)
    except Overloaded as error:
        return _form(request, fields, {"": str(error)}, 429, {"Retry-After": str(error.retry_after)})
    return RedirectResponse(f"/jobs/{created.job.id}", 303)


def _form(
    request: Request,
    values: Mapping[str, str],
    problems: Mapping[str, str] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    rooms = rooms_of(request)
    found = rooms.capabilities
    offers: dict[str, Any] = {
        "datasets": found.datasets,
        "suites": found.suites,
        "norms": found.norms,
        "modes": found.modes,
        "radii": found.radii,
    }
    form = evaluate_form(rooms.pool.loaded(), offers, values=values, problems=problems)
    return page_response(render_evaluate(form, csrf=csrf_of(request)), status, headers)
