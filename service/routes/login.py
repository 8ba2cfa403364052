"""`/login` and `/logout`: from a pasted key to a cookie, and back."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.errors import Overloaded, ServiceError, Unauthenticated, to_http
from service.routes.html import page_response, read_form
from service.routes.rooms import rooms_of
from service.security.sessions import clear_cookie, set_cookie
from service.web.pages import render_login

router = APIRouter(include_in_schema=False)


@router.get("/login")
def form(request: Request) -> Response:
    """Return the page that takes a key."""
    return page_response(render_login(needed=rooms_of(request).doorkeeper.needs_key))


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Return the way to the start page with a session cookie, or the page with what is wrong."""
    fields = await read_form(request)
    address = request.client.host if request.client else "unknown"
    try:
        cookie = await rooms_of(request).doorkeeper.sign_in(fields.get("key", ""), address)
    except (Unauthenticated, Overloaded) as error:
        return _refused(error)
    response = RedirectResponse("/", 303, headers={"Cache-Control": "no-store"})
    set_cookie(response, cookie, tls=request.url.scheme == "https")
    return response


@router.post("/logout")
def sign_out() -> Response:
    """Return the way to the login page; the browser forgets the cookie."""
    response = RedirectResponse("/login", 303, headers={"Cache-Control": "no-store"})
    clear_cookie(response)
    return response


def _refused(error: ServiceError) -> Response:
    mapped = to_http(error)
    return page_response(render_login(needed=True, problem=str(error)), mapped.status, mapped.headers)
