"""The database: one engine, short transactions, migrations at start."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.orm import Session

_WRITES = "levelset_writes"
VERSION_TABLE = "levelset_revision"


class Database:
    """Short transactions on one SQLAlchemy engine.

    Args:
        url: SQLAlchemy URL; SQLite runs in WAL mode with full sync.
    """

    def __init__(self, url: str) -> None:
        self._engine = _open_engine(url)
        self._writer = self._engine.execution_options(**{_WRITES: True})

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

    def close(self) -> None:
        """Release every connection."""
        self._engine.dispose()


def _open_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
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


def migrate(url: str, *, lock: Path | None = None, revision: str = "head") -> None:
    """Bring our tables to a revision, the newest by default; several processes may call it at once.

    Args:
        url: SQLAlchemy URL.
        lock: file that serialises the callers on one machine.
        revision: where to go; an older one than the database's takes tables and columns back.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with exclusive(lock) if lock is not None else nullcontext():
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
