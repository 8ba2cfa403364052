"""The database: one engine, short transactions, migrations at start."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.orm import Session

from service.errors import ServiceError

_WRITES = "levelset_writes"
_IDLE_MS = 10_000  # a process frozen inside a transaction loses it then, so that the others can write again
VERSION_TABLE = "levelset_revision"


class UnknownDatabase(ServiceError):
    """The settings name a kind of database that this version cannot use."""


class Database:
    """Short transactions on one SQLAlchemy engine.

    Args:
        url: SQLAlchemy URL; SQLite runs in WAL mode with full sync, PostgreSQL takes one writer at a time, too.
    """

    def __init__(self, url: str) -> None:
        engine = _open_engine(url)
        self._writer = engine.execution_options(**{_WRITES: True})
        self._engine = _reading(engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session whose reads see one snapshot."""
        with Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that holds the write lock; leaving it commits, an exception rolls back."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def alone(self, task: str) -> Iterator[bool]:
        """Yield whether this process may do the task now: at most one of those that share a PostgreSQL database.

        SQLite has one web process, which is always alone.
        """
        if self._writer.dialect.name != "postgresql":
            yield True
            return
        with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            free = bool(connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": lock_key(task)}))
            try:
                yield free
            finally:
                if free:
                    connection.execute(text("select pg_advisory_unlock(:key)"), {"key": lock_key(task)})

    def close(self) -> None:
        """Release every connection."""
        self._engine.dispose()


def _open_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        event.listen(engine, "connect", _prepare_postgres)
        event.listen(engine, "begin", _begin_postgres)
        return engine
    if parsed.get_backend_name() != "sqlite":
        raise UnknownDatabase(
            f"LEVELSET_DATABASE: expected sqlite:// or postgresql+psycopg://, got {parsed.get_backend_name()!r}; "
            "name one of these databases"
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgres(connection: Any, _record: Any) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_MS}")
    connection.commit()


def _begin_postgres(connection: Connection) -> None:
    # Several transactions count rows before they add one (bounds of open jobs, keys of requests); without this lock two
    # of them at once would both find room. Writes last milliseconds, so that waiting costs less than retrying would.
    if connection.get_execution_options().get(_WRITES, False):
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": lock_key("write")})


def _reading(engine: Engine) -> Engine:
    """Return the engine with one snapshot per transaction, which SQLite has anyway."""
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def lock_key(task: str) -> int:
    """Return the number under which PostgreSQL knows the lock of a task."""
    return int.from_bytes(hashlib.sha256(f"levelset {task}".encode()).digest()[:8], "big", signed=True)


def migrate(url: str, *, lock: Path | None = None, revision: str = "head") -> None:
    """Bring our tables to a revision, the newest by default; several processes may call it at once.

    Args:
        url: SQLAlchemy URL.
        lock: file that serialises the callers on one machine.
        revision: where to go; an older one than the database's takes tables and columns back.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with exclusive(lock) if lock is not None else nullcontext(), migrating(url):
        engine = _open_engine(url)
        try:
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                if revision in _behind(connection):
                    command.downgrade(config, revision)
                else:
                    command.upgrade(config, revision)
        finally:
            engine.dispose()


@contextmanager
def migrating(url: str) -> Iterator[None]:
    """Hold the right to change tables, against other hosts too where the database is PostgreSQL; waits for it."""
    engine = _open_engine(url)
    try:
        if engine.dialect.name != "postgresql":
            yield
            return
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": lock_key("migrate")})
            yield  # `dispose` below closes the connection, which gives the lock back however the block ends
    finally:
        engine.dispose()


def _behind(connection: Connection) -> set[str]:
    """Return the revisions older than the database's own."""
    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if current is None:
        return set()
    return {step.revision for step in script.iterate_revisions(current, "base")} - {current}


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` for the length of the block; waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
