"""Examples kept for re-scoring: one safetensors file per crafting run, named by content."""

import os
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ensemble.digests import tensor_digest


def keep(examples: Tensor, folder: Path | None) -> dict[str, Any]:
    """Return the record of some examples, after writing them where a folder is given.

    The file is written under a temporary name, flushed to the disk and renamed: it is whole or absent.

    Args:
        examples: `[epsilon batch channel height width]` float32 on the CPU.
        folder: where to keep them, or None.

    Returns:
        Digest, shape, dtype, and the path relative to the folder (None where nothing was written).
    """
    digest = tensor_digest(examples)
    record = {"digest": digest, "shape": list(examples.shape), "dtype": "float32", "path_relative": None}
    if folder is None:
        return record
    path = folder / f"{digest}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{digest}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(save({"examples": examples.contiguous()}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return record | {"path_relative": path.name}
