"""Migrations on SQLite and PostgreSQL with rows in the tables: from every revision up, down and up again.

Seen to fail when: 0002 drops the jobs table to rebuild it (shards vanish by cascade); a column of the mappings is in no
migration; `run` has no default for the rows that are there.
"""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from service.store import migrations
from service.store.database import Database, migrate
from service.store.tables import Base, Event, Job, JobFile, Shard

REVISIONS = sorted(
    script.revision for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
)
ADDED = {"job_files": "0002", "api_keys": "0003", "workers": "0004", "tallies": "0004"}


def rows(url: str) -> dict[str, int]:
    """Return how many rows each of our tables holds."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        found = {name: connection.execute(sa.text(f'select count(*) from "{name}"')).scalar_one() for name in names}
    engine.dispose()
    return found


def fill(url: str) -> None:
    """Write one job with a shard and an event in the columns that the first revision has."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into jobs (id, owner, type, state, spec, spec_digest, details, priority, attempt, "
                "deaths, last_seq, created_at) values "
                "('job-1', 'local', 'evaluate', 'succeeded', '{}', 'd', '{}', 1, 1, 0, 1, 5)"
            )
        )
        connection.execute(sa.text("insert into shards values ('job-1', 'k', 'd', 3, :no, 6)"), {"no": False})
        connection.execute(sa.text("insert into events values ('job-1', 1, 5, 'info', 'state', '{}')"))
    engine.dispose()


@pytest.mark.parametrize("first", REVISIONS)
def test_rows_survive_every_step(store_url: str, first: str) -> None:
    """A job keeps its shards and events from each revision to the newest, back, down to the oldest and up again."""
    migrate(store_url, revision="0001")
    fill(store_url)
    for revision in (first, "head", first, "0001", "head"):
        migrate(store_url, revision=revision)
        found = rows(store_url)
        assert (found["jobs"], found["shards"], found["events"]) == (1, 1, 1)
        there = {name for name, since in ADDED.items() if revision == "head" or since <= revision}
        assert there == found.keys() & ADDED.keys()
    database = Database(store_url)
    with database.write() as session:
        job = session.get_one(Job, "job-1")
        assert (job.run, job.plan, job.result, job.notices) == (1, None, None, None)
        session.add(JobFile(job_id="job-1", name="a", sha256="s", size=1, media_type="text/plain", created_at=7))
        session.flush()
        session.delete(job)
    with database.read() as session:
        assert [session.query(table).count() for table in (Job, Shard, Event, JobFile)] == [0, 0, 0, 0]
    database.close()


def test_several_hosts_start_at_once(store_url: str, tmp_path: Path) -> None:
    """Each has its own file to lock; PostgreSQL has them wait for each other, and every one succeeds."""
    failed: list[BaseException] = []
    together = store_url.startswith("postgresql")  # a SQLite file has one host, whose processes share the file

    def start(number: int) -> None:
        try:
            migrate(store_url, lock=tmp_path / (f"lock-{number}" if together else "lock"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert rows(store_url)["levelset_revision"] == 1


def test_the_migrations_make_the_mapped_tables(store_url: str) -> None:
    """Every column of the mappings is there with the same nullability, and no other."""
    migrate(store_url)
    engine = sa.create_engine(store_url)
    inspector = sa.inspect(engine)
    for table in Base.metadata.sorted_tables:
        found = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert found == {column.name: bool(column.nullable) for column in table.columns}, table.name
    engine.dispose()
