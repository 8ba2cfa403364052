"""Who asks: what the guard found out about a request, and where routes read it."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import Scope as Connection

from service.security.keys import LOCAL_OWNER, Key
from service.security.scopes import EVERY, Scope
from service.security.sessions import Session

IDENTITY: Final = "levelset_identity"  # of a connection: its `Identity`


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request is from.

    Attributes:
        owner: whose resources it sees and makes.
        scopes: what it may do.
        key: id of its key; None where no key was needed or none was shown.
        session: the session of a page; None for keys in a header.
    """

    owner: str
    scopes: frozenset[Scope]
    key: str | None = None
    session: Session | None = None


NOBODY: Final = Identity("nobody", frozenset())
LOCAL: Final = Identity(LOCAL_OWNER, EVERY)


def identity_with(key: Key, session: Session | None = None) -> Identity:
    """Return the identity of a request that showed `key`."""
    return Identity(key.owner, key.scopes, key.id, session)


def identity_of(request: Request) -> Identity:
    """Return who `request` is from; nobody where no guard stood before the route."""
    return identity_in(request.scope)


def identity_in(connection: Connection) -> Identity:
    """Return who a connection's request is from."""
    found: Identity = connection.get(IDENTITY, NOBODY)
    return found


def owner_of(request: Request) -> str:
    """Return whose resources `request` sees and makes."""
    return identity_of(request).owner


def csrf_of(request: Request) -> str:
    """Return the token for forms and scripts of a page; empty where no cookie is used, so that none is needed."""
    session = identity_of(request).session
    return session.csrf if session is not None else ""
