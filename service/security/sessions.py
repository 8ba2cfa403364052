"""Sessions of the pages: a signed cookie that names a key, and the token that changing requests must repeat.

Nothing is stored: a session is good while its seal is right, its time is not over and its key is not revoked. The token
against forged requests is a digest of the cookie under the same secret, so that only a page served with it knows it.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

COOKIE: Final = "levelset_session"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"  # of a form that works without script
LIFETIME: Final = 12 * 3600  # seconds
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was read from a cookie.

    Attributes:
        key: id of the key it was opened with.
        csrf: the token that its changing requests must carry.
    """

    key: str
    csrf: str


class Sessions:
    """Makes and reads session cookies.

    Args:
        secret: of this data folder.
        clock: seconds since the epoch.
    """

    def __init__(self, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._secret = hmac.new(secret, b"sessions", hashlib.sha256).digest()
        self._clock = clock

    def open(self, key: str) -> str:
        """Return the value of a new cookie for the key of that id."""
        body = f"{key}.{int(self._clock())}.{secrets.token_hex(8)}"
        return f"{body}.{self._seal('cookie', body)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None where it was not made here or its time is over."""
        body, _, seal = cookie.rpartition(".")
        if len(cookie) > _LONGEST or not hmac.compare_digest(seal.encode(), self._seal("cookie", body).encode()):
            return None
        key, opened, _ = body.split(".")
        if self._clock() - int(opened) > LIFETIME:
            return None
        return Session(key, self._seal("csrf", body))

    def _seal(self, purpose: str, body: str) -> str:
        return hmac.new(self._secret, f"{purpose}\n{body}".encode(errors="replace"), hashlib.sha256).hexdigest()


def set_cookie(response: Response, cookie: str, *, tls: bool) -> None:
    """Put the session's cookie into a response; `tls` keeps it from ever being sent in the clear."""
    response.set_cookie(COOKIE, cookie, max_age=LIFETIME, path="/", httponly=True, samesite="strict", secure=tls)


def clear_cookie(response: Response) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def matches(session: Session, token: str) -> bool:
    """Return whether a request carries the token of its session."""
    return hmac.compare_digest(session.csrf.encode(), token.encode(errors="replace"))
