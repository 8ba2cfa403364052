"""Around every request: its id, who may send it, security headers, and nothing raised past this point."""

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import HttpError

LOG = logging.getLogger("levelset.http")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
LINGER: Final = 2.0  # seconds for which an unread body is thrown away after its refusal
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}

Refuse = Callable[[Request, HttpError], Response]
OnError = Callable[[Request, Exception], Response]


def request_id(scope: Scope) -> str:
    """Return the id of a request, its client's own where that is safe to repeat."""
    identity: str = scope.get("levelset_request_id", "unknown")
    return identity


class Gatekeeper:
    """Names each request, refuses foreign hosts and origins, adds security headers, answers what was not foreseen.

    Args:
        app: the application behind the gate.
        hosts: host names a request may carry, lower case; None allows every host.
        trusted: of these, the ones whose pages may send requests from any port, as behind a proxy.
        refuse: renders a refusal.
        on_error: renders an unexpected error.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] | None,
        refuse: Refuse,
        on_error: OnError,
        trusted: Collection[str] = (),
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._trusted = frozenset(name.lower() for name in trusted)
        self._refuse = refuse
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        offered = headers.get("x-request-id", "")
        identity = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        scope["levelset_request_id"] = identity
        outgoing = _Outgoing(send, receive, identity)
        refusal = self._refusal(headers)
        if refusal is not None:
            await self._refuse(Request(scope), refusal)(scope, receive, outgoing)
            return
        try:
            await self._app(scope, receive, outgoing)
        except Exception as error:
            if outgoing.started:
                raise
            await self._on_error(Request(scope), error)(scope, receive, outgoing)

    def _refusal(self, headers: Headers) -> HttpError | None:
        host = headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            return HttpError(
                403, "Host: expected a name of this service, got another; add it to LEVELSET_ALLOWED_HOSTS"
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return HttpError(403, "Origin: expected this service's own, got another; foreign pages are refused")
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` is ours: it came from the very host and port that is asked now."""
        scheme, _, authority = origin.lower().partition("://")
        port = _DEFAULT_PORTS.get(scheme)
        if port is None:  # among others the origin `null`
            return False
        same = authority.removesuffix(port) == host.strip().lower().removesuffix(port)
        return same or _host_name(authority) in self._trusted


class _Outgoing:
    """Adds headers to the response on its way out, and lets a refused client finish before the connection is closed.

    A client that still sends when its connection is closed is reset, and never reads why. So the answer goes out first,
    then what comes is thrown away for a while, then the connection is closed.
    """

    def __init__(self, send: Send, receive: Receive, identity: str) -> None:
        self._send = send
        self._receive = receive
        self._identity = identity
        self._closes = False
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._identity
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            self._closes = headers.get("connection") == "close"
        elif self._closes and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _discard_body(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await self._receive()).get("more_body", False):
                    pass


def _host_name(authority: str) -> str:
    """Return the host of `host[:port]` in lower case, IPv6 without brackets."""
    authority = authority.strip().lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
