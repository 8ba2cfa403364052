"""What one shard makes and another one reads, by content key: in memory, and where it is costly also in a folder.

A reader that does not find it makes it again: the same key gives the same bytes, so nothing but time depends on what is
kept.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from safetensors.torch import load, save
from torch import Tensor

from attacks.examples import write_whole
from ensemble.digests import tensor_digest

Tensors = Mapping[str, Tensor]
Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """The last few things made; memory stays flat however many are made.

    Args:
        places: how many are held.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: OrderedDict[str, Thing] = OrderedDict()

    def get(self, key: str, make: Callable[[], Thing]) -> Thing:
        """Return the thing of a key, made where it is not held.

        Args:
            key: content digest of everything it depends on.
            make: returns it; called at most once.
        """
        found = self._held.pop(key, None)
        self._held[key] = found = make() if found is None else found
        while len(self._held) > self._places:
            self._held.popitem(last=False)
        return found


def recalled(folder: Path | None, key: str, make: Callable[[], Tensors]) -> Tensors:
    """Return the tensors of a key, read from a folder or made and written there.

    Args:
        folder: where they are kept; None keeps nothing.
        key: content digest of everything they depend on.
        make: returns them, on the CPU; called at most once.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    if folder is None:
        return make()
    path = folder / f"{key}.tensors"
    found = _read(path)
    if found is None:
        found = make()
        digests = {name: tensor_digest(tensor) for name, tensor in found.items()}
        data = {name: tensor.contiguous() for name, tensor in found.items()}
        write_whole(path, save(data, {"digests": json.dumps(digests, sort_keys=True)}))
    return found


def _read(path: Path) -> Tensors | None:
    try:
        data = path.read_bytes()
        tensors: Tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        expected = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["digests"])
    except Exception:  # absent or damaged in any way: it is made again
        return None
    return tensors if {name: tensor_digest(tensor) for name, tensor in tensors.items()} == expected else None
