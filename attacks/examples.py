"""Examples kept for re-scoring: one safetensors file per crafting run, named by content."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ensemble.digests import tensor_digest
from ensemble.errors import ArtifactError


def keep(examples: Tensor, folder: Path | None) -> dict[str, Any]:
    """Return the record of some examples, after writing them where a folder is given.

    Args:
        examples: `[epsilon batch channel height width]` float32 on the CPU.
        folder: where to keep them, or None.

    Returns:
        Digest, shape, dtype, and the path relative to the folder (None where nothing was written).

    Raises:
        ArtifactError: the folder cannot be written, e.g. because the disk is full.
    """
    digest = tensor_digest(examples)
    record = {"digest": digest, "shape": list(examples.shape), "dtype": "float32", "path_relative": None}
    if folder is None:
        return record
    path = folder / f"{digest}.safetensors"
    if not path.exists():
        write_whole(path, save({"examples": examples.contiguous()}))
    return record | {"path_relative": path.name}


def recall(record: dict[str, Any], folder: Path | None) -> Tensor | None:
    """Return the examples of a record, or None where they are not kept or no longer what they were.

    Args:
        record: of `keep`.
        folder: where they were kept.
    """
    if folder is None or record["path_relative"] is None:
        return None
    try:
        examples = load((folder / record["path_relative"]).read_bytes())["examples"]
    except (OSError, SafetensorError, KeyError):
        return None
    return examples if tensor_digest(examples) == record["digest"] else None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or absent: under a temporary name, flushed to the disk, then renamed.

    Args:
        path: the file; its folder is made.
        data: its bytes.

    Raises:
        ArtifactError: it cannot be written; nothing is left of it, and what lay there before is unchanged.
    """
    # Not the process id: two threads share it, and so may two containers that write to one folder.
    temporary = path.parent / f".{path.name}.{uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ArtifactError(
            f"keeping {path.name}: expected to write {len(data)} bytes to {path.parent}, got {error.strerror}; "
            "free space or name another folder, then run again: finished shards are not lost"
        ) from error
