"""Files that survive a crash.

Seen to fail when entries are listed with `Path.rglob`, when hidden ones are yielded all the same, and when only files
are yielded.
"""

import os
from pathlib import Path
from threading import Event, Thread

import pytest

from ensemble.errors import ArtifactError
from service.catalogue.durable import entries_below, refuse_links


def test_entries_below_are_files_folders_and_links(tmp_path: Path) -> None:
    """Everything below a folder, links not followed; without what is hidden where that is asked for."""
    (tmp_path / "a" / ".draft").mkdir(parents=True)
    (tmp_path / "a" / ".draft" / "half").write_text("x")
    (tmp_path / "a" / ".note").write_text("x")
    (tmp_path / "a" / "b").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")

    def names(*, hidden: bool) -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in entries_below(tmp_path, hidden=hidden)}

    assert names(hidden=False) == {"a", "a/b", "link"}
    assert names(hidden=True) == {"a", "a/b", "link", "a/.draft", "a/.draft/half", "a/.note"}


def test_folders_that_go_away_while_they_are_listed_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that another process renames between its parent's listing and its own ends nothing."""
    (tmp_path / "home" / ".new-1" / "artifact").mkdir(parents=True)
    (tmp_path / "home" / "1").mkdir()
    listed = os.scandir

    def late(path: object = ".") -> object:
        if Path(str(path)).name == "artifact":
            (tmp_path / "home" / ".new-1").rename(tmp_path / "home" / "2")
        return listed(str(path))

    monkeypatch.setattr(os, "scandir", late)
    assert tmp_path / "home" / "1" in set(entries_below(tmp_path / "home"))
    assert (tmp_path / "home" / "2").is_dir()


def test_a_link_is_found_while_others_write(tmp_path: Path) -> None:
    """Beside a writer that makes and renames folders all the time, a tree without links passes, one with a link not."""
    home, over = tmp_path / "home", Event()
    home.mkdir()

    def write() -> None:
        while not over.is_set():
            (home / ".new" / "artifact" / "deep").mkdir(parents=True)
            (home / ".new").rename(tmp_path / "gone")
            for folder in ("gone/artifact/deep", "gone/artifact", "gone"):
                (tmp_path / folder).rmdir()

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(500):
            refuse_links(tmp_path, home)
        (home / "link").symlink_to(tmp_path)
        with pytest.raises(ArtifactError, match="symbolic link"):
            refuse_links(tmp_path, home)
    finally:
        over.set()
        writer.join()
