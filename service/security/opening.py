"""Putting the doorkeeper together, and the first key of a service that others can reach."""

import os
import sys
from pathlib import Path
from typing import Final

from service.errors import MethodRefused, ServiceError
from service.security.audit import FILE, AuditLog
from service.security.doorkeeper import Doorkeeper
from service.security.keys import LOCAL_OWNER, Key, KeyStore, Order, given_key
from service.security.limits import Buckets
from service.security.ring import KeyRing
from service.security.scopes import Scope
from service.security.sessions import Sessions
from service.settings import Settings
from service.store.database import Database, migrate

FIRST_KEY: Final = "first.key"
MIGRATE_LOCK: Final = "migrate.lock"
WRONG_AT_ONCE: Final = 20.0  # wrong keys that an address may offer before it has to wait


def open_doorkeeper(settings: Settings, database: Database, secret: bytes) -> Doorkeeper:
    """Return the doorkeeper of one application; its keys are read at the first request.

    Args:
        settings: of the service.
        database: migrated.
        secret: of the data folder.

    Raises:
        ServiceError: the key file cannot be read or holds a weak key.
    """
    return Doorkeeper(
        KeyRing(KeyStore(database), given=read_given(settings)),
        Sessions(secret),
        AuditLog(settings.data / FILE),
        always=not settings.is_loopback and not settings.insecure,
        limits=Buckets(rate=settings.key_rate, burst=settings.key_burst),
        wrong=Buckets(rate=settings.wrong_key_rate, burst=max(1.0, WRONG_AT_ONCE / settings.wrong_key_rate)),
    )


def read_given(settings: Settings) -> Key | None:
    """Return the key in the operator's key file; None without such a file.

    Raises:
        ServiceError: the file cannot be read or holds a weak key.
    """
    if settings.key_file is None:
        return None
    try:
        return given_key(settings.key_file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(
            f"key file {settings.key_file}: expected one line of text, got {type(error).__name__}; correct "
            "LEVELSET_KEY_FILE or the file's permissions"
        ) from error


def open_store(settings: Settings) -> tuple[Database, KeyStore]:
    """Return the database, its tables up to date, and the keys in it; close the database in the end."""
    settings.data.mkdir(parents=True, exist_ok=True)
    migrate(settings.database_url, lock=settings.data / MIGRATE_LOCK)
    database = Database(settings.database_url)
    return database, KeyStore(database)


def require_key(settings: Settings) -> None:
    """See to it that a service that others can reach has a key: the very first start makes one and prints it once.

    Args:
        settings: of a service that binds an address beyond loopback.

    Raises:
        MethodRefused: there were keys, and every one of them is revoked.
    """
    if read_given(settings) is not None:
        return
    database, store = open_store(settings)
    try:
        keys = store.all()
        if not keys:
            _make_first(settings.data / FIRST_KEY, store)
        elif all(key.revoked_at is not None for key in keys):
            raise MethodRefused(
                f"host: expected a loopback address, got {settings.host!r} and no key that is good; make one with "
                "`levelset keys create`, bind 127.0.0.1, or allow it with --insecure (LEVELSET_INSECURE=true) behind "
                "your own access control"
            )
    finally:
        database.close()


def _make_first(path: Path, store: KeyStore) -> None:
    minted = store.create(Order("first", frozenset({Scope.ADMIN}), owner=LOCAL_OWNER))
    write_private(path, minted.token + "\n")
    sys.stdout.write(f"levelset: first start beyond this machine; its key, shown once and kept in {path}:\n")
    sys.stdout.write(minted.token + "\n")
    sys.stdout.flush()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".new-{path.name}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
    temporary.replace(path)
