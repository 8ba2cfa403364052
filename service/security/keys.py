"""Keys: 256 random bits, shown once, kept as their SHA-256.

A fast digest is enough here, unlike for passwords: nobody can try 2^256 keys, so there is nothing that a slow function
or a salt would make harder. A key reads `lvs_<id>_<secret>`; the id is public and names its row.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from service.errors import NotFound, UnprocessableRequest
from service.security.scopes import Scope
from service.store.clock import now
from service.store.database import Database
from service.store.tables import ApiKey

PREFIX: Final = "lvs_"
LOCAL_OWNER: Final = "local"  # owns what was made while no key was needed, and what the first key makes
SHORTEST_GIVEN: Final = 32  # characters of a key that the operator made
_TOKEN: Final = re.compile(r"lvs_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_NO_DIGEST: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key, without the key.

    Attributes:
        id: public name of the row.
        name: the operator's own words for it.
        owner: who owns what it makes.
        scopes: what it may do.
        digest: SHA-256 of the key, hexadecimal.
        rate: requests per second; None for the service's own limit.
        created_at: microseconds since the epoch.
        revoked_at: the same; None while it is good.
    """

    id: str
    name: str
    owner: str
    scopes: frozenset[Scope]
    digest: str
    rate: float | None = None
    created_at: int = 0
    revoked_at: int | None = None

    def opens_with(self, token: str) -> bool:
        """Return whether `token` is this key and still good; takes equally long for every wrong one."""
        same = hmac.compare_digest(self.digest, fingerprint(token))
        return same and self.revoked_at is None


@dataclass(frozen=True, slots=True)
class Order:
    """A key to be made.

    Attributes:
        name: letters, digits and `_.@-`, 1 to 64.
        scopes: at least one.
        owner: as `name`; None for an owner of the same name.
        rate: requests per second, above 0; None for the service's own limit.

    Raises:
        UnprocessableRequest: one of them is not as it should be.
    """

    name: str
    scopes: frozenset[Scope]
    owner: str | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("owner", self.owner)):
            if text is not None and not _NAME.fullmatch(text):
                raise UnprocessableRequest(
                    f"{field}: expected 1 to 64 letters, digits and _.@-, got {text[:80]!r}; choose another",
                    field=field,
                )
        if not self.scopes:
            raise UnprocessableRequest("scopes: expected at least one, got none; name infer, read, jobs or admin")
        if self.rate is not None and not 0 < self.rate <= 1e6:
            raise UnprocessableRequest(f"rate: expected requests per second above 0, got {self.rate:g}", field="rate")


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key with the token that is never seen again."""

    key: Key
    token: str


class KeyStore:
    """Keys in the database.

    Args:
        database: migrated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, order: Order) -> Minted:
        """Return a new key, stored as its digest."""
        identity = secrets.token_hex(6)
        token = f"{PREFIX}{identity}_{secrets.token_urlsafe(32)}"
        key = Key(identity, order.name, order.owner or order.name, order.scopes, fingerprint(token), order.rate, now())
        with self._database.write() as session:
            session.add(_row(key))
        return Minted(key, token)

    def all(self) -> Sequence[Key]:
        """Return every key, revoked ones too, oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id))
            return [_key(row) for row in rows]

    def revoke(self, identity: str) -> Key:
        """Return the key after its end; ending it twice changes nothing.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.write() as session:
            row = session.get(ApiKey, identity)
            if row is None:
                raise NotFound(f"key: expected the id of a stored key, got {identity[:80]!r}; list them first")
            row.revoked_at = row.revoked_at or now()
            return _key(row)


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token, hexadecimal."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def named_in(token: str) -> str | None:
    """Return the id that a token carries; None where it does not read like one of ours."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def given_key(token: str) -> Key:
    """Return the key that the operator brought, for example as a container's secret.

    Raises:
        UnprocessableRequest: it is too short to be beyond guessing.
    """
    if len(token) < SHORTEST_GIVEN:
        raise UnprocessableRequest(
            f"key file: expected at least {SHORTEST_GIVEN} characters, got {len(token)}; "
            "make one with `openssl rand -hex 32`"
        )
    return Key("given", "given", LOCAL_OWNER, frozenset(Scope), fingerprint(token))


def as_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return scopes by name.

    Raises:
        UnprocessableRequest: one is not known.
    """
    listed = list(words)
    unknown = [word for word in listed if word not in set(Scope)]
    if unknown:
        names = ", ".join(Scope)
        raise UnprocessableRequest(f"scopes: expected some of {names}, got {unknown[0][:40]!r}", field="scopes")
    return frozenset(map(Scope, listed))


NOBODY: Final = Key("none", "none", "none", frozenset(), _NO_DIGEST)  # compared with where an id names no key


def _row(key: Key) -> ApiKey:
    scopes = " ".join(scope for scope in Scope if scope in key.scopes)
    return ApiKey(
        id=key.id,
        name=key.name,
        owner=key.owner,
        scopes=scopes,
        digest=key.digest,
        rate=key.rate,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )


def _key(row: ApiKey) -> Key:
    scopes = frozenset(map(Scope, row.scopes.split()))
    return Key(row.id, row.name, row.owner, scopes, row.digest, row.rate, row.created_at, row.revoked_at)
