"""Artifacts: immutable files named by what they hold, written whole or not at all.

A file that is stored or found again counts as new: the sweep of what nothing names leaves it alone meanwhile.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from service.errors import DamagedArtifact, Gone


class ArtifactStore:
    """Files under one folder, each in a sub-folder of its kind and the first two letters of its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Return the SHA-256 under which `data` is now stored; storing it twice is harmless."""
        name = hashlib.sha256(data).hexdigest()
        path = self._path("blobs", name)
        if not _touched(path) or path.read_bytes() != data:  # a damaged file is mended by making it again
            _write_whole(path, data)
        return name

    def get(self, name: str) -> bytes:
        """Return the bytes stored under their SHA-256.

        Raises:
            Gone: the file is missing.
            DamagedArtifact: its bytes do not have that digest.
        """
        try:
            data = self._path("blobs", name).read_bytes()
        except FileNotFoundError:
            raise Gone(f"artifact {name[:12]}: expected a stored file, got none; run the job again") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise DamagedArtifact(f"artifact {name[:12]}: its bytes do not match its digest; run the job again")
        return data

    def has(self, name: str) -> bool:
        """Return whether a file of that SHA-256 is there; its bytes are not read."""
        return self._path("blobs", name).is_file()

    def put_result(self, key: str, data: bytes) -> None:
        """Store the result of the shard `key`, sealed with its own digest."""
        _write_whole(self._path("shards", key), hashlib.sha256(data).hexdigest().encode() + b"\n" + data)

    def get_result(self, key: str) -> bytes | None:
        """Return the result of the shard `key`; None where it is missing or damaged, so that it is computed again."""
        path = self._path("shards", key)
        try:
            seal, _, data = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        _touched(path)
        return data if hashlib.sha256(data).hexdigest().encode() == seal else None

    def _path(self, kind: str, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise Gone(f"artifact name: expected 64 hexadecimal digits, got {name[:80]!r}")
        return self._folder / kind / name[:2] / name


def _touched(path: Path) -> bool:
    """Return whether a file is there, which counts as new from now on: whoever found it is about to name it."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a folder that can be read only
        return path.exists()
    return True


def _write_whole(path: Path, data: bytes) -> None:
    _make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; each is in its parent for good before anything is put into it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
