"""Files that nothing names are reported and collected, but never one that somebody is about to name.

Seen to fail when: a file that is stored again, or a result that is found again, keeps its age; the age is not looked at
a second time; the report counts what a row names.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.doctor import orphans
from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import CommittedShard, Progress
from service.jobs.retention import DAY, Keeper
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.database import Database, migrate

KEY = "a" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a data folder with an empty database."""
    settings = Settings(data=tmp_path)
    migrate(settings.database_url)
    return settings


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """Yield the database."""
    database = Database(settings.database_url)
    yield database
    database.close()


def keeper(settings: Settings, database: Database) -> Keeper:
    """Return a keeper with the usual grace."""
    return Keeper(database, settings.artifacts_folder, settings.bases_folder, keep_days=0)


def age(folder: Path) -> None:
    """Make every file two days old."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_mtime - 2 * DAY,) * 2)


def test_what_is_found_again_is_young_again(settings: Settings, database: Database) -> None:
    """A job that stores or reads what an older one left behind may take its time until the row is there."""
    store = ArtifactStore(settings.artifacts_folder)
    again, left = store.put(b"again"), store.put(b"left")
    store.put_result(KEY, b"{}")
    store.put_result("b" * 64, b"{}")
    age(settings.artifacts_folder)
    assert store.put(b"again") == again
    assert store.get_result(KEY) == b"{}"
    collected = keeper(settings, database).collect()
    assert (collected.files, collected.bytes) == (2, len(b"left") + 65 + 2)
    assert store.has(again)
    assert not store.has(left)
    assert store.get_result(KEY) == b"{}"
    assert store.get_result("b" * 64) is None


def test_a_file_touched_while_the_sweep_looks_stays(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the rows and the end of a file its age is looked at once more."""
    store = ArtifactStore(settings.artifacts_folder)
    name = store.put(b"about to be named")
    age(settings.artifacts_folder)
    sweep = keeper(settings, database)
    listed = sweep._orphans

    def slow(before: float) -> list[Path]:
        found = listed(before)
        store.put(b"about to be named")
        return found

    monkeypatch.setattr(sweep, "_orphans", slow)
    assert sweep.collect().files == 0
    assert store.has(name)


def test_a_draft_of_a_killed_writer_is_collected(settings: Settings, database: Database) -> None:
    """What was never renamed to its name goes, too, once it is old."""
    draft = settings.artifacts_folder / "blobs" / "ab" / ".new-x"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    assert keeper(settings, database).collect().files == 0
    age(settings.artifacts_folder)
    assert keeper(settings, database).collect().files == 1
    assert not draft.exists()


def test_examples_stay_while_a_result_promises_them(settings: Settings, database: Database) -> None:
    """Results on the disk keep their examples, with a row or without; other examples go when they are old."""
    store, folder = ArtifactStore(settings.artifacts_folder), settings.artifacts_folder / "examples"
    folder.mkdir(parents=True)
    promised, left = (folder / f"{digit * 64}.safetensors" for digit in "cd")
    for path in (promised, left):
        path.write_bytes(b"examples")
    age(folder)
    store.put_result(KEY, json.dumps({"examples": {"digest": "c" * 64}}).encode())
    assert keeper(settings, database).survey().files == 2  # the result has no row yet
    assert keeper(settings, database).collect().files == 1
    assert promised.exists()
    assert not left.exists()


def test_the_doctor_counts_what_nothing_names(settings: Settings, database: Database) -> None:
    """Young orphans are counted and left where they are; what a row names is none."""
    assert orphans(settings).state == "none yet"
    store = ArtifactStore(settings.artifacts_folder)
    store.put_result(KEY, b"{}")
    job = JobLedger(database, max_open=9).create(NewJob("local", "evaluate", {}, {}, 1, None)).job
    progress = Progress(database, worker="w")
    progress.planned(job.id, shards=1, samples=1)
    progress.commit(job.id, CommittedShard(KEY, "d" * 64, 1, False, "one"))
    assert orphans(settings).state == "each is named by a job or a report"
    name = store.put(b"orphan")
    found = orphans(settings)
    assert found.state.startswith("1 that nothing names (6 bytes)")
    assert found.well
    assert store.has(name)
