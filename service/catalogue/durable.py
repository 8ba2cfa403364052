"""Files that survive a crash: written, flushed to the disk, then named."""

import os
from collections.abc import Iterator
from pathlib import Path

from ensemble.errors import ArtifactError


def write_text(path: Path, text: str) -> None:
    """Write a small text file and flush it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old content or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_text(draft, text)
        draft.replace(path)
        flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def flush_folder(folder: Path, *, recursive: bool = True) -> None:
    """Flush a folder, and with `recursive` everything below it, to the disk."""
    if recursive:
        for path in entries_below(folder):
            flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries_below(folder: Path, *, hidden: bool = True) -> Iterator[Path]:
    """Yield every file and folder below `folder`; what another process takes away meanwhile is passed over.

    Links are yielded and never followed. (`Path.rglob` raises when a folder is renamed while it is listed.)

    Args:
        folder: where to look.
        hidden: whether entries whose name begins with a dot, and what is in them, count.
    """
    for home, folders, files in os.walk(folder):
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(home, name) for name in (*folders, *files) if hidden or not name.startswith("."))


def refuse_linked_path(root: Path, path: Path) -> None:
    """Check that neither `path` nor a folder between `root` and it is a symbolic link.

    Raises:
        ArtifactError: a link was found; following it could leave the repository.
    """
    for entry in [path, *(parent for parent in path.parents if parent.is_relative_to(root) and parent != root)]:
        _refuse_link(entry)


def refuse_links(root: Path, path: Path) -> None:
    """Check that neither `path`, nor a folder between `root` and it, nor anything below it is a symbolic link.

    Raises:
        ArtifactError: a link was found; following it could leave the repository.
    """
    refuse_linked_path(root, path)
    for entry in entries_below(path):
        _refuse_link(entry)


def _refuse_link(entry: Path) -> None:
    if entry.is_symlink():
        raise ArtifactError(
            f"repository: expected plain files and folders, got the symbolic link {entry.name!r}; replace it by what "
            "it points to"
        )
