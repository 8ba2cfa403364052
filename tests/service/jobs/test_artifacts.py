"""Artifacts: whole or absent, checked on every read.

Seen to fail: the digest not compared on read; the temporary file left behind; a damaged file kept because it is there.
"""

from pathlib import Path

import pytest

from service.errors import DamagedArtifact, Gone
from service.store.artifacts import ArtifactStore


def files(folder: Path) -> list[Path]:
    """Return every file below the folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_bytes_survive_and_equal_bytes_are_one_file(tmp_path: Path) -> None:
    """What was put comes back, twice the same is stored once, nothing temporary stays."""
    store = ArtifactStore(tmp_path)
    name = store.put(b"abc")
    assert store.put(b"abc") == name
    assert store.get(name) == b"abc"
    assert len(files(tmp_path)) == 1


def test_damage_is_seen(tmp_path: Path) -> None:
    """A changed file is damaged, a missing one is gone, a path is no name."""
    store = ArtifactStore(tmp_path)
    name = store.put(b"abc")
    files(tmp_path)[0].write_bytes(b"abd")
    with pytest.raises(DamagedArtifact):
        store.get(name)
    files(tmp_path)[0].unlink()
    with pytest.raises(Gone):
        store.get(name)
    with pytest.raises(Gone):
        store.get("../../etc/passwd")


def test_putting_again_mends_damage(tmp_path: Path) -> None:
    """Running a job again, as the error says, brings a damaged file back."""
    store = ArtifactStore(tmp_path)
    name = store.put(b"abc")
    files(tmp_path)[0].write_bytes(b"ab")
    assert store.put(b"abc") == name
    assert store.get(name) == b"abc"


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    """A shard result that is cut short counts as missing."""
    store = ArtifactStore(tmp_path)
    key = "0" * 64
    assert store.get_result(key) is None
    store.put_result(key, b'{"a": 1}')
    assert store.get_result(key) == b'{"a": 1}'
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert store.get_result(key) is None
