"""Decides about each request: whose key it shows, whether that may do this, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from service.errors import MalformedRequest, MethodRefused, Overloaded, Unauthenticated
from service.security.audit import AuditLog
from service.security.identity import LOCAL, Identity, identity_with
from service.security.keys import PREFIX
from service.security.limits import Buckets, whole_seconds
from service.security.ring import KeyRing
from service.security.scopes import allows, needed
from service.security.sessions import COOKIE, Sessions

QUERY_NAMES: Final = frozenset({"key", "api_key", "apikey", "api-key", "token", "access_token", "authorization"})
_BEARER: Final = "bearer"


class QuotaSpent(Overloaded):
    """A key asks more often than it may."""

    reason = "quota"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides whether it is let in.

    Attributes:
        method: HTTP method.
        path: decoded path.
        query: raw query string.
        headers: of the request.
        address: of the client.
    """

    method: str
    path: str
    query: str
    headers: Headers
    address: str


class Doorkeeper:
    """Lets requests in, with who they are from, or refuses them.

    Args:
        ring: the keys.
        sessions: of the pages.
        audit: where sign-ins are noted.
        always: whether a key is needed even while there is none: the service can be reached from elsewhere.
        limits: how often each key may ask.
        wrong: how often each address may offer a wrong key.
    """

    def __init__(
        self, ring: KeyRing, sessions: Sessions, audit: AuditLog, *, always: bool, limits: Buckets, wrong: Buckets
    ) -> None:
        self.ring = ring
        self.audit = audit
        self._sessions = sessions
        self._always = always
        self._limits = limits
        self._wrong = wrong

    @property
    def needs_key(self) -> bool:
        """Whether requests need a key: one was made, or the service can be reached from elsewhere."""
        return self._always or self.ring.configured

    async def admit(self, asked: Asked) -> Identity:
        """Return who asks.

        Raises:
            MalformedRequest: a key stands in the query.
            Unauthenticated: no key, or none that is good.
            QuotaSpent: the key asks too often, or the address offers too many wrong ones.
            MethodRefused: the key may not do this.
        """
        await self.ring.refresh()
        _refuse_key_in_query(asked.query, strict=self.needs_key)
        if not self.needs_key:
            return LOCAL
        identity = self._identify(asked)
        wanted = needed(asked.method, asked.path) or frozenset()
        if not allows(identity.scopes, wanted):
            listed = " or ".join(sorted(wanted))
            raise MethodRefused(f"key: expected one with the scope {listed}, got one without; ask the operator for it")
        return identity

    async def sign_in(self, token: str, address: str) -> str:
        """Return the value of a new session cookie for whoever has this key.

        Args:
            token: the key that was pasted.
            address: of the client.

        Raises:
            Unauthenticated: it is no good key.
            QuotaSpent: the address offered too many wrong ones.
        """
        await self.ring.refresh()
        key = self.ring.find(token.strip())
        if key is None:
            raise self._wrong_key(address)
        self.audit.note("signed in", key=key.id, owner=key.owner, address=address)
        return self._sessions.open(key.id)

    def _identify(self, asked: Asked) -> Identity:
        identity = self._by_header(asked.headers)
        if identity is None and not asked.path.startswith("/v2"):  # protocol clients have no cookies, browsers do
            identity = self._by_cookie(asked.headers)
        if identity is None:
            shown = "authorization" in asked.headers
            raise self._wrong_key(asked.address) if shown else Unauthenticated(_NO_KEY)
        key = self.ring.good(identity.key or "")
        wait = self._limits.take(identity.key or "", rate=key.rate if key else None)
        if wait > 0:
            seconds = whole_seconds(wait)
            raise QuotaSpent(f"key: expected fewer requests a second, got more; wait {seconds} s", retry_after=seconds)
        return identity

    def _by_header(self, headers: Headers) -> Identity | None:
        offered = headers.getlist("authorization")
        if len(offered) != 1:
            return None
        scheme, _, token = offered[0].partition(" ")
        key = self.ring.find(token.strip()) if scheme.lower() == _BEARER else None
        return identity_with(key) if key is not None else None

    def _by_cookie(self, headers: Headers) -> Identity | None:
        if "authorization" in headers:
            return None
        session = self._sessions.read(_cookies(headers).get(COOKIE, ""))
        key = self.ring.good(session.key) if session is not None else None
        return identity_with(key, session) if key is not None else None

    def _wrong_key(self, address: str) -> Unauthenticated | QuotaSpent:
        wait = self._wrong.take(address)
        if wait > 0:
            seconds = whole_seconds(wait)
            return QuotaSpent(f"key: expected a good one, got many that are not; wait {seconds} s", retry_after=seconds)
        return Unauthenticated("key: expected one that was made here and not revoked, got another; ask the operator")


_NO_KEY: Final = "key: expected `Authorization: Bearer <key>`, got none; ask the operator for one; browsers: /login"


def _refuse_key_in_query(query: str, *, strict: bool) -> None:
    if not query or (not strict and PREFIX not in query):
        return
    for name, value in parse_qsl(query, keep_blank_values=True):
        if value.startswith(PREFIX) or (strict and name.lower() in QUERY_NAMES):
            raise MalformedRequest(
                "query: expected no key in it, got one; addresses end up in logs: revoke it, and send a new "
                "one in the Authorization header"
            )


def _cookies(headers: Headers) -> Mapping[str, str]:
    try:
        jar: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}
