"""The guard before every route: asks the doorkeeper, checks the token of pages, keeps the audit log."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import HttpError, MethodRefused, ServiceError, Unauthenticated, to_http
from service.observability.instruments import Instruments
from service.security.doorkeeper import Asked, Doorkeeper, QuotaSpent
from service.security.identity import IDENTITY, Identity
from service.security.scopes import needed
from service.security.sessions import CSRF_FIELD, CSRF_HEADER, matches

SAFE: Final = frozenset({"GET", "HEAD"})
FORM: Final = "application/x-www-form-urlencoded"
FORM_BYTES: Final = 8 << 10  # of a form that carries a token; our forms are far smaller
FORM_SECONDS: Final = 5.0
_UNTOLD: Final = ("/v2/models/", "/v2/repository/index")  # inference is counted, not audited

Refuse = Callable[[Request, HttpError], Response]


class Guard:
    """Lets in what the application's doorkeeper lets in.

    Args:
        app: what is guarded; the doorkeeper in `app.state.rooms` of the whole application decides.
        refuse: renders a refusal.
        instruments: metrics of the application.
    """

    def __init__(self, app: ASGIApp, *, refuse: Refuse, instruments: Instruments) -> None:
        self._app = app
        self._refuse = refuse
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and _is_open(scope)):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no route speaks anything else
        doorkeeper: Doorkeeper = scope["app"].state.rooms.doorkeeper
        asked = _asked(scope)
        try:
            identity = await doorkeeper.admit(asked)
            if identity.session is not None and asked.method not in SAFE:
                receive = await _checked_token(identity, asked, receive)
        except ServiceError as error:
            self._note_refusal(doorkeeper, scope, error)
            await self._refuse(Request(scope), _refusal(error, asked))(scope, receive, send)
            return
        scope[IDENTITY] = identity
        await self._app(scope, receive, _audited(doorkeeper, scope, send))

    def _note_refusal(self, doorkeeper: Doorkeeper, scope: Scope, error: ServiceError) -> None:
        if isinstance(error, QuotaSpent):
            if scope["path"].endswith("/infer"):
                self._instruments.rejected.add(error.reason)
            return  # who asks too often would fill the log, too
        doorkeeper.audit.request("refused", scope, status=to_http(error).status, reason=type(error).__name__)


def _is_open(scope: Scope) -> bool:
    return needed(scope["method"], scope["path"]) is None


def _asked(scope: Scope) -> Asked:
    client = scope.get("client")
    query = scope.get("query_string", b"").decode("latin-1")
    return Asked(scope["method"], scope["path"], query, Headers(scope=scope), client[0] if client else "unknown")


def _refusal(error: ServiceError, asked: Asked) -> HttpError:
    mapped = to_http(error)
    extra: Mapping[str, str] = _CHALLENGE if isinstance(error, Unauthenticated) else {}
    is_page = not asked.path.startswith(("/api/", "/v2")) and "text/html" in asked.headers.get("accept", "")
    if extra and is_page and asked.method in SAFE:
        extra = {**extra, "Refresh": "0; url=/login"}  # a person lands where a key can be pasted
    if asked.headers.get("content-length", "0") != "0" or "transfer-encoding" in asked.headers:
        extra = {**extra, "Connection": "close"}  # the body is left unread
    return replace(mapped, headers={**mapped.headers, **extra})


_CHALLENGE: Final = MappingProxyType({"WWW-Authenticate": 'Bearer realm="levelset"', "Cache-Control": "no-store"})


async def _checked_token(identity: Identity, asked: Asked, receive: Receive) -> Receive:
    """Return a `receive` that gives the body again, after the token of the page was found in header or form.

    Raises:
        MethodRefused: there is none, or it is another session's.
    """
    token = asked.headers.get(CSRF_HEADER)
    if token is None and asked.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        body = await _small_body(receive)
        token = parse_qs(body.decode("latin-1")).get(CSRF_FIELD, [""])[0]
        receive = _replaying(body, receive)
    if identity.session is None or token is None or not matches(identity.session, token):
        raise MethodRefused(f"{CSRF_HEADER}: expected the token of this page, got none or another; reload the page")
    return receive


async def _small_body(receive: Receive) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > FORM_BYTES or message["type"] == "http.disconnect":
                    raise MethodRefused(f"form: expected at most {FORM_BYTES} bytes, got more; use the API")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise MethodRefused("form: expected it to arrive at once, got a part; send it again") from None


def _replaying(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _audited(doorkeeper: Doorkeeper, scope: Scope, send: Send) -> Send:
    """Return a `send` that notes the answer to a request that changes something."""
    if scope["method"] in SAFE or scope["path"].startswith(_UNTOLD):
        return send

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            doorkeeper.audit.request("request", scope, status=message["status"])
        await send(message)

    return noted
