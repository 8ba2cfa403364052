"""Backup and restore of a data folder: what comes back is what was there at one moment, or nothing does.

Seen to fail when: a digest is not compared; names in the archive are not checked; a folder with data is written over;
the archive is readable by others.
"""

import io
import json
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service.security.keys import KeyStore, Order
from service.security.scopes import Scope
from service.store.artifacts import ArtifactStore
from service.store.backup import DATABASE, MANIFEST, BackupError, back_up, restore
from service.store.database import Database, migrate


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with a key, two artifacts, a model, a secret, and what no backup holds."""
    folder = tmp_path / "var"
    (folder / "models" / "digits" / "1").mkdir(parents=True)
    (folder / "models" / "digits" / "1" / "model.json").write_text("{}")
    (folder / "models" / ".new-draft").write_text("half")
    store = ArtifactStore(folder / "artifacts")
    store.put(b"report")
    store.put_result("a" * 64, b"shard")
    (folder / "cursor.key").write_bytes(bytes(range(32)))
    (folder / "first.key").write_text("lvs_secret")
    (folder / "service.lock").touch()
    migrate(url(folder))
    database = Database(url(folder))
    KeyStore(database).create(Order("ci", frozenset({Scope.READ})))
    database.close()
    return folder


def url(folder: Path) -> str:
    """Return the address of the folder's database."""
    return f"sqlite:///{folder / DATABASE}"


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the database and its side files."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(DATABASE))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_comes_back_is_what_was_there(data: Path, tmp_path: Path) -> None:
    """Artifacts, models, secrets of cursors and keys survive; locks, drafts and the plain first key do not travel."""
    archive, again = tmp_path / "backup.tar", tmp_path / "again"
    assert back_up(data, url(data), archive) == restore(archive, again)
    assert archive.stat().st_mode & 0o777 == 0o600
    left_out = {"first.key", "service.lock", "models/.new-draft"}
    assert content(again) == {name: held for name, held in content(data).items() if name not in left_out}
    assert ArtifactStore(again / "artifacts").get_result("a" * 64) == b"shard"
    databases = [Database(url(folder)) for folder in (data, again)]
    before, after = (KeyStore(database).all() for database in databases)
    assert before == after != []
    for database in databases:
        database.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "backup.tar", "var"]


def test_a_database_that_is_written_meanwhile(data: Path, tmp_path: Path) -> None:
    """Every row that a backup holds is whole: pairs written in one transaction are never half there."""
    path = data / DATABASE
    with sqlite3.connect(path) as connection:
        connection.execute("create table pairs (n integer, side text)")
    connection.close()
    stop = threading.Event()

    def write() -> None:
        writer = sqlite3.connect(path)
        number = 0
        while not stop.is_set():
            number += 1
            with writer:
                writer.executemany("insert into pairs values (?, ?)", [(number, "l"), (number, "r")])
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for turn in range(3):
            back_up(data, url(data), tmp_path / f"{turn}.tar")
    finally:
        stop.set()
        thread.join()
    for turn in range(3):
        restore(tmp_path / f"{turn}.tar", tmp_path / f"r{turn}")
        copy = sqlite3.connect(tmp_path / f"r{turn}" / DATABASE)
        assert copy.execute("select n from pairs group by n having count(*) != 2").fetchall() == []
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
        copy.close()


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    """Return a copy of an archive with other entries."""
    with tarfile.open(archive) as source:
        entries = {entry.name: source.extractfile(entry).read() for entry in source}  # type: ignore[union-attr]
    target = archive.with_suffix(".changed")
    with tarfile.open(target, "w") as copy:
        for name, held in change(entries).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(held)
            copy.addfile(entry, io.BytesIO(held))
    return target


def with_file(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Return a change that adds a file, listed in the manifest as it should be."""

    def change(entries: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(entries[MANIFEST])
        digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        manifest["files"][name] = {"size": 1, "sha256": digest}
        return {**entries, name: b"x", MANIFEST: json.dumps(manifest).encode()}

    return change


DAMAGES: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "a changed file": lambda entries: {**entries, "models/digits/1/model.json": b"[]"},
    "a missing file": lambda entries: {n: held for n, held in entries.items() if n != "cursor.key"},
    "an added file": lambda entries: {**entries, "models/x/1/model.json": b"{}"},
    "no manifest": lambda entries: {n: held for n, held in entries.items() if n != MANIFEST},
    "no database": lambda entries: {n: held for n, held in entries.items() if n != DATABASE},
    "another form": lambda entries: {**entries, MANIFEST: b'{"form": 2, "files": {}}'},
    "an absolute name": with_file("/tmp/levelset-escape"),
    "a name upwards": with_file("models/../../escape"),
    "a name upwards at once": with_file("../escape"),
    "a backslash": with_file("models\\..\\escape"),
    "a foreign name": with_file("service.json"),
    "a hidden name": with_file("models/.escape"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_archive_is_refused_and_leaves_nothing(case: str, data: Path, tmp_path: Path) -> None:
    """Changed, missing, added, escaping: nothing of the archive stays in the folder or beside it."""
    back_up(data, url(data), tmp_path / "backup.tar")
    changed = rewritten(tmp_path / "backup.tar", DAMAGES[case])
    with pytest.raises(BackupError, match="expected an archive"):
        restore(changed, tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []
    assert not (tmp_path / "escape").exists()
    assert not Path("/tmp/levelset-escape").exists()


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    """A symbolic link is no file of a backup."""
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        entry = tarfile.TarInfo("models/x")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(entry)
    with pytest.raises(BackupError, match="no file"):
        restore(tmp_path / "links.tar", tmp_path / "again")


def test_nothing_is_written_over(data: Path, tmp_path: Path) -> None:
    """An existing archive and a folder with data are left as they are; what is no archive is said to be none."""
    archive = tmp_path / "backup.tar"
    back_up(data, url(data), archive)
    held = archive.read_bytes()
    with pytest.raises(BackupError, match="exists"):
        back_up(data, url(data), archive)
    before = content(data)
    with pytest.raises(BackupError, match="without data"):
        restore(archive, data)
    assert (content(data), archive.read_bytes()) == (before, held)
    (tmp_path / "text").write_text("no archive")
    for wrong in ("text", "absent"):
        with pytest.raises(BackupError, match="expected"):
            restore(tmp_path / wrong, tmp_path / "again")
    with pytest.raises(BackupError, match="own tools"):
        back_up(data, "postgresql://host/levelset", tmp_path / "other.tar")
    with pytest.raises(BackupError, match="with a database"):
        back_up(tmp_path / "empty", url(tmp_path / "empty"), tmp_path / "other.tar")
