"""Errors on the wire: `{"error"}` under /v2, RFC 9457 problems under /api, a page for a browser."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from service.errors import HIDDEN, DamagedArtifact, HttpError, ServiceError, to_http
from service.routes.middleware import request_id
from service.routes.wording import sentence
from service.web.pages import render_error
from service.web.policy import PAGE_POLICY

LOG = logging.getLogger("levelset.http")
PROBLEM = "application/problem+json"
_PLACE = re.compile(r"\{[^}]*\}")


def install(app: FastAPI) -> None:
    """Make `app` answer every error in the form of its path."""
    app.add_exception_handler(ServiceError, _on_domain_error)
    app.add_exception_handler(HTTPException, _on_framework_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_body)


def respond(
    path: str, error: HttpError, *, identity: str, accept: str = "", errors: Sequence[Mapping[str, Any]] = ()
) -> Response:
    """Return `error` as a response in the form of `path`.

    Args:
        path: of the request.
        error: status, text and headers.
        identity: id of the request.
        accept: what the client accepts; a browser gets a page.
        errors: one entry per field at fault.
    """
    if path == "/v2" or path.startswith("/v2/"):
        status = 400 if error.status == 422 else error.status
        return JSONResponse({"error": error.detail}, status, headers=error.headers)
    if not path.startswith("/api/") and "text/html" in accept:
        page = render_error(error.status, error.title, error.detail)
        return HTMLResponse(page, error.status, headers={**error.headers, "Content-Security-Policy": PAGE_POLICY})
    problem: dict[str, Any] = {
        "type": f"/problems/{error.status}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": path,
        "request_id": identity,
    }
    listed = list(errors) or ([{"field": error.pointer, "message": error.detail}] if error.pointer else [])
    if listed:
        problem["errors"] = listed
    return JSONResponse(problem, error.status, headers=error.headers, media_type=PROBLEM)


def unexpected(request: Request, error: Exception) -> Response:
    """Return the answer to an error that no route handles: by the table of errors, else 500 with its id.

    The log has every one whole that is not the client's own doing.
    """
    identity = request_id(request.scope)
    mapped = to_http(error)
    if mapped.status == 422:
        return _respond(request, mapped)
    LOG.error("request %s failed", identity, exc_info=error)
    return _respond(request, HttpError(500, HIDDEN))


async def _on_domain_error(request: Request, error: Exception) -> Response:
    mapped = to_http(error)
    if mapped.status == 500 or isinstance(error, DamagedArtifact):
        LOG.error("request %s failed", request_id(request.scope), exc_info=error)
    return _respond(request, mapped)


async def _on_framework_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    words = {404: "expected a path of this service", 405: "expected another method on this path"}
    detail = words.get(error.status_code, str(error.detail))
    detail = (
        f"{detail}, got {request.method} {request.url.path[:200]}; see /openapi.json"
        if error.status_code in words
        else detail
    )
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return _respond(request, HttpError(error.status_code, detail, headers))


def _allowed(request: Request) -> set[str]:
    """Return the methods of the path, of every route on it: the framework names those of one."""
    flat = [inner for route in request.app.routes for inner in _flat(route)]
    found = [route for route in flat if isinstance(route, Route) and route.path_regex.match(request.url.path)]
    nearest = max((_literal(route.path) for route in found), default=0)  # `/{id}:cancel` is nearer than `/{id}`
    return {method for route in found if _literal(route.path) == nearest for method in route.methods or ()}


def _flat(route: BaseRoute) -> list[BaseRoute]:
    router = getattr(route, "original_router", None)
    return [route] if router is None else [inner for one in router.routes for inner in _flat(one)]


def _literal(template: str) -> int:
    """Return how many characters of a path's template stand for themselves."""
    return len(_PLACE.sub("", template))


async def _on_invalid_body(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    listed = [{"field": _path(item["loc"]), "message": sentence(item)} for item in error.errors()[:32]]
    unreadable = any(item["type"] == "json_invalid" for item in error.errors())
    detail = f"{listed[0]['field']}: {listed[0]['message']}" if listed else "the request is not valid"
    mapped = HttpError(400 if unreadable else 422, detail)
    return _respond(request, mapped, errors=listed)


def _respond(request: Request, error: HttpError, *, errors: Sequence[Mapping[str, Any]] = ()) -> Response:
    accept = request.headers.get("accept", "")
    return respond(request.url.path, error, identity=request_id(request.scope), accept=accept, errors=errors)


def _path(location: Sequence[Any]) -> str:
    return ".".join(str(part)[:80] for part in location if part != "body") or "body"
