"""The way from the web process to a worker and back: small files in one folder, each written whole and then renamed.

orders/<digest>.json     what is asked for; whoever renames it away computes it
taken/<digest>.json      is being computed
answers/<digest>.json    what came out; the cache of later tries
images/<owner>/<sha256>  uploaded images
awake                    touched when somebody opens the page: the worker loads its libraries then
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

KEPT: Final = 3600.0  # seconds an image or an answer is kept
ABANDONED: Final = 300.0  # seconds after which what was taken counts as lost


class Spool:
    """One folder of orders and answers.

    Args:
        folder: on a disk that web process and worker share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wake(self) -> None:
        """Say that somebody is about to ask."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "awake").touch()

    def woken(self) -> float:
        """Return when somebody was last about to ask, in seconds since the epoch; 0 for never."""
        with suppress(OSError):
            return (self._folder / "awake").stat().st_mtime
        return 0.0

    def ask(self, digest: str, order: Mapping[str, Any]) -> None:
        """Write down an order; writing it twice is harmless."""
        _write(self._path("orders", digest), json.dumps(order, allow_nan=False).encode())

    def withdraw(self, digest: str) -> bool:
        """Return whether the order was still there, and now is not."""
        try:
            self._path("orders", digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def take(self) -> tuple[str, dict[str, Any]] | None:
        """Return the oldest order with its digest, which nobody else takes now; None where there is none."""
        found = _listed(self._folder / "orders")
        for path in sorted(found, key=lambda path: found[path]):
            taken = self._path("taken", path.stem)
            taken.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError, ValueError):  # another worker was faster, or it is no order
                os.replace(path, taken)
                order: dict[str, Any] = json.loads(taken.read_bytes())
                return path.stem, order
        return None

    def answer(self, digest: str, answer: Mapping[str, Any]) -> None:
        """Write down what came out."""
        _write(self._path("answers", digest), json.dumps(answer, allow_nan=False).encode())
        self._path("taken", digest).unlink(missing_ok=True)

    def answered(self, digest: str) -> dict[str, Any] | None:
        """Return what came out; None while nothing has."""
        try:
            found: dict[str, Any] = json.loads(self._path("answers", digest).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def forget(self, digest: str) -> None:
        """Drop an answer, so that it is computed again."""
        self._path("answers", digest).unlink(missing_ok=True)

    def keep_image(self, owner: str, sha256: str, data: bytes) -> None:
        """Keep an image of an owner for an hour."""
        _write(self._image(owner, sha256), data)

    def image(self, owner: str, sha256: str) -> bytes | None:
        """Return an image of an owner; None where there is none, or its time is over."""
        path = self._image(owner, sha256)
        try:
            if time.time() - path.stat().st_mtime > KEPT:
                return None
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def images_of(self, owner: str) -> int:
        """Return how many images are kept for an owner."""
        return len(_listed(self._image(owner, "0").parent))

    def sweep(self) -> None:
        """Drop what is too old."""
        now = time.time()
        folders = [self._folder / name for name in ("orders", "taken", "answers")]
        with suppress(OSError):
            folders += [entry for entry in (self._folder / "images").iterdir() if entry.is_dir()]
        for folder in folders:
            limit = ABANDONED if folder.name in ("orders", "taken") else KEPT
            for path, written in _listed(folder).items():
                if now - written > limit:
                    path.unlink(missing_ok=True)

    def _path(self, kind: str, digest: str) -> Path:
        return self._folder / kind / f"{digest}.json"

    def _image(self, owner: str, sha256: str) -> Path:
        return self._folder / "images" / hashlib.sha256(owner.encode()).hexdigest()[:32] / sha256


def _listed(folder: Path) -> dict[Path, float]:
    """Return the whole files of a folder and when each was written."""
    found = {}
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                if not entry.name.startswith("."):
                    found[Path(entry.path)] = entry.stat().st_mtime
    return found


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
