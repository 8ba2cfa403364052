"""Sessions of the pages: cookies that cannot be made elsewhere, and the token that forged requests lack.

Seen to fail when: the token is not asked for; the form is swallowed; the age of a session is not looked at.
"""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import Unauthenticated
from service.observability.instruments import Instruments
from service.security.doorkeeper import QuotaSpent
from service.security.guard import Guard
from service.security.scopes import Scope
from service.security.sessions import (
    COOKIE,
    CSRF_FIELD,
    CSRF_HEADER,
    LIFETIME,
    Sessions,
    clear_cookie,
    matches,
    set_cookie,
)
from tests.service.security.conftest import House, opened


def test_a_session_is_read_back_until_it_is_too_old() -> None:
    """What was opened is read with its key and token; after its lifetime it is nothing."""
    now = 1_000_000.0
    sessions = Sessions(b"secret", clock=lambda: now)
    cookie = sessions.open("abc")
    first = sessions.read(cookie)
    assert first is not None
    assert first.key == "abc"
    assert matches(first, first.csrf)
    assert not matches(first, "")
    now += LIFETIME
    assert sessions.read(cookie) == first
    now += 1
    assert sessions.read(cookie) is None


def test_sessions_of_another_secret_are_nothing() -> None:
    """A cookie of another data folder, a changed one and any other text are refused; tokens differ by session."""
    ours, theirs = Sessions(b"ours"), Sessions(b"theirs")
    cookie = ours.open("abc")
    assert theirs.read(cookie) is None
    for wrong in (cookie.replace("abc", "abd"), cookie[:-1], cookie + "x", "", ".", "a.b", "é.1.2.3", "x" * 5000):
        assert ours.read(wrong) is None
    one, two = (ours.read(ours.open("abc")) for _ in range(2))
    assert one is not None
    assert two is not None
    assert not matches(one, two.csrf)


def test_the_cookie_is_kept_from_scripts_and_other_sites() -> None:
    """HttpOnly, SameSite=Strict, and Secure where the page came over TLS."""
    for tls in (False, True):
        response = Response()
        set_cookie(response, "value", tls=tls)
        parts = {part.strip().lower() for part in response.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/", f"{COOKIE}=value"} <= parts
        assert ("secure" in parts) is tls
    response = Response()
    clear_cookie(response)
    assert "max-age=0" in response.headers["set-cookie"].lower()


def signed_in(house: House, *scopes: Scope) -> tuple[dict[str, str], str]:
    """Return the headers of a browser that has signed in, and its page's token."""
    minted = house.mint(*scopes)
    doorkeeper = house.rooms.doorkeeper
    cookie = house.run(doorkeeper.sign_in(f" {minted.token}\n", "192.0.2.7"))
    session = doorkeeper._sessions.read(cookie)
    assert session is not None
    return {"Cookie": f"{COOKIE}={cookie}"}, session.csrf


def test_api2_forged_requests_lack_the_token(house: House) -> None:
    """A cookie alone reads; to change anything the page's token must come with it, in a header or a form."""
    cookie, token = signed_in(house, Scope.JOBS, Scope.READ)
    assert house.ask("GET", "/api/v1/jobs", headers=cookie).status_code == 200
    path = "/api/v1/jobs/none:cancel"
    for method, target in (("POST", path), ("DELETE", "/api/v1/jobs/none")):
        assert house.ask(method, target, headers=cookie).status_code == 403
        assert house.ask(method, target, headers={**cookie, CSRF_HEADER: "x" * 64}).status_code == 403
    assert house.ask("POST", path, headers=cookie, json={CSRF_FIELD: token}).status_code == 403
    assert house.ask("POST", path, headers={**cookie, CSRF_HEADER: token}).status_code == 404
    assert house.ask("POST", path, headers=cookie, data={CSRF_FIELD: token}).status_code == 404
    assert house.ask("POST", path, headers=cookie, data={CSRF_FIELD: token[:-1]}).status_code == 403
    assert house.ask("POST", path, headers=cookie, data={"x": "y" * 10_000, CSRF_FIELD: token}).status_code == 403
    _, others = signed_in(house, Scope.ADMIN)
    assert house.ask("POST", path, headers={**cookie, CSRF_HEADER: others}).status_code == 403


def test_the_form_arrives_whole(house: House) -> None:
    """A form whose token was read by the guard is read again by the route, once."""
    cookie, token = signed_in(house, Scope.ADMIN)

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def ask() -> bytes:
        app = Starlette(
            routes=[Route("/echo", echo, methods=["POST"])],
            middleware=[Middleware(Guard, refuse=lambda *_: Response(status_code=403), instruments=Instruments())],
        )
        app.state.rooms = house.rooms
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return (await client.post("/echo", headers=cookie, data={"a": "1", CSRF_FIELD: token})).content

    assert house.run(ask()) == f"a=1&{CSRF_FIELD}={token}".encode()


def test_keys_in_a_header_need_no_token(house: House) -> None:
    """Programs show their key themselves, so that no other site can make them ask."""
    token = house.mint(Scope.JOBS).token
    assert house.ask("POST", "/api/v1/jobs/none:cancel", token).status_code == 404


def test_signing_in_with_a_wrong_key(data: object) -> None:
    """Wrong keys are refused, a stream of them is slowed down, and both leave no session."""
    with opened(data=data) as house:
        house.mint(Scope.READ)
        doorkeeper = house.rooms.doorkeeper
        with pytest.raises(Unauthenticated):
            house.run(doorkeeper.sign_in("lvs_wrong", "198.51.100.1"))
        for _ in range(30):
            with pytest.raises((Unauthenticated, QuotaSpent)) as refused:
                house.run(doorkeeper.sign_in("x", "198.51.100.1"))
        assert refused.type is QuotaSpent


def test_a_session_ends_with_its_key(data: object) -> None:
    """Revoking a key signs everybody out who signed in with it."""
    with opened(data=data) as house:
        cookie, _ = signed_in(house, Scope.READ)
        assert house.ask("GET", "/", headers=cookie).status_code == 200
        store = house.rooms.doorkeeper.ring.store
        store.revoke(store.all()[0].id)
        house.rooms.doorkeeper.ring.outdate()
        assert house.ask("GET", "/", headers=cookie).status_code == 401
