"""Backup and restore of a data folder: one archive with the database as it was at one moment and a digest per file.

The database is copied first, by SQLite's own backup, then the files. A row is written after its file, and files never
change, so every file that the copied rows name is in the archive, also while the service goes on.
"""

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from sqlalchemy import make_url

from service.catalogue.durable import entries_below
from service.errors import ServiceError

FORM: Final = 1  # version of the archive's form
MANIFEST: Final = "manifest.json"
DATABASE: Final = "levelset.sqlite"
FOLDERS: Final = ("models", "artifacts", "reports")
FILES: Final = ("cursor.key", "audit.log")
_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 256 << 20


class BackupError(ServiceError):
    """A data folder cannot be written to an archive, or an archive not to a folder."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written.

    Attributes:
        files: how many, the database included.
        bytes: their sizes together.
    """

    files: int
    bytes: int


def back_up(data: Path, database_url: str, target: Path) -> Summary:
    """Write the data folder to an archive that only its owner can read; a running service goes on.

    Args:
        data: the data folder.
        database_url: of its database, which must be the SQLite file.
        target: the archive, which must not exist.

    Raises:
        BackupError: there is nothing to back up, the target exists, or the database is kept elsewhere.
    """
    source = _sqlite_file(database_url)
    if not source.is_file():
        raise BackupError(f"backup: expected a data folder with a database, got none at {data}; name it with --data")
    if target.exists():
        raise BackupError(f"backup: expected a new file, got {target}, which exists; choose another name")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as scratch:
        copied, draft = Path(scratch) / DATABASE, Path(scratch) / "archive"
        _copy_database(source, copied)
        records: dict[str, dict[str, Any]] = {}
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            with tarfile.open(fileobj=handle, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, path in [(DATABASE, copied), *_files(data)]:
                    record = _add(archive, name, path)
                    if record is not None:
                        records[name] = record
                _add_bytes(archive, MANIFEST, json.dumps({"form": FORM, "files": records}, sort_keys=True).encode())
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(target)
    return Summary(len(records), sum(record["size"] for record in records.values()))


def restore(archive: Path, data: Path) -> Summary:
    """Write an archive to a data folder without data, after every digest in it was found right.

    Args:
        archive: made by `back_up`.
        data: the folder; what it may hold already is nothing that a backup holds.

    Raises:
        BackupError: the folder has data, or the archive is damaged, or was not made here.
    """
    taken = [name for name in (DATABASE, *FILES, *FOLDERS) if (data / name).exists()]
    if taken:
        raise BackupError(f"restore: expected a data folder without data, got {data} with {taken[0]}; name another")
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix=".restore-") as scratch:
        records = _unpack(archive, Path(scratch))
        (Path(scratch) / "models").mkdir(exist_ok=True)
        for name in (*FOLDERS, *FILES, DATABASE):  # the database last: before it is there, nothing counts as restored
            if (Path(scratch) / name).exists():
                (Path(scratch) / name).replace(data / name)
    return Summary(len(records), sum(record["size"] for record in records.values()))


def _sqlite_file(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise BackupError(
            f"backup: expected the SQLite file of the data folder, got {parsed.get_backend_name()}; back that database "
            "up with its own tools, first, and then the folder's files"
        )
    return Path(parsed.database)


def _copy_database(source: Path, target: Path) -> None:
    origin = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        origin.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        (state,) = copy.execute("PRAGMA integrity_check").fetchone()
    finally:
        copy.close()
        origin.close()
    if state != "ok":
        raise BackupError(f"backup: expected a sound database, got: {state[:200]}; restore an earlier backup")


def _files(data: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of every file of the folder that is kept; drafts and links are none."""
    for name in FILES:
        yield name, data / name
    for folder in FOLDERS:
        for path in sorted(entries_below(data / folder, hidden=False)):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(data).as_posix(), path


def _add(archive: tarfile.TarFile, name: str, path: Path) -> dict[str, Any] | None:
    """Return size and digest of what was written; None for a file that is gone by now."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return None
    with handle:
        size = os.fstat(handle.fileno()).st_size
        digested = _Digested(handle)
        archive.addfile(_entry(name, size), digested)
    return {"size": size, "sha256": digested.digest.hexdigest()}


class _Digested:
    """Digests what is read from a file while it goes into the archive."""

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle = handle
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._handle.read(size)
        self.digest.update(chunk)
        return chunk


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_entry(name, len(content)), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _unpack(path: Path, draft: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None  # links are never followed
                if content is None:
                    raise _damaged(f"an entry that is no file: {entry.name[:80]!r}")
                if entry.name == MANIFEST and entry.size <= _LARGEST_MANIFEST:
                    manifest = json.loads(content.read())
                elif _is_ours(entry.name) and entry.name not in found:
                    found[entry.name] = _extract(content, draft / entry.name)
                else:
                    raise _damaged(f"an entry that no backup has: {entry.name[:80]!r}")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _damaged(f"{type(error).__name__}") from error
    except FileNotFoundError:
        raise BackupError(f"restore: expected a backup, got no file {path}; correct the path") from None
    if not isinstance(manifest, dict) or manifest.get("form") != FORM or manifest.get("files") != found:
        raise _damaged("files whose digests are not those of the manifest")
    if DATABASE not in found:
        raise _damaged("no database")
    return found


def _is_ours(name: str) -> bool:
    """Return whether an entry's name is one that `back_up` writes: never absolute, never upwards."""
    if name == DATABASE or name in FILES:
        return True
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and not any(part.startswith(".") or "\\" in part or "\0" in part for part in parts)
    return plain and len(parts) > 1 and parts[0] in FOLDERS


def _extract(content: Any, path: Path) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            handle.write(chunk)
        handle.flush()
        os.fsync(handle.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _damaged(what: str) -> BackupError:
    return BackupError(f"restore: expected an archive of `levelset backup`, got {what}; take another backup")
