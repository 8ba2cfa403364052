"""MNIST, Fashion-MNIST and CIFAR-10 from torchvision's files in a folder the user names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.errors import InputError
from service.catalogue.datasets.splits import split_published
from service.catalogue.datasets.values import ArraySource, DataSet
from service.catalogue.torchvision_compat import import_torchvision


@dataclass(frozen=True, slots=True)
class TorchvisionSet:
    """One row of the table: our name, torchvision's class, and the shape of an image."""

    name: str
    class_name: str
    input_shape: tuple[int, int, int]


ROWS = {
    row.name: row
    for row in (
        TorchvisionSet("mnist", "MNIST", (1, 28, 28)),
        TorchvisionSet("fashion-mnist", "FashionMNIST", (1, 28, 28)),
        TorchvisionSet("cifar10", "CIFAR10", (3, 32, 32)),
    )
}


def torchvision_set(row: TorchvisionSet, root: Path | None, *, download: bool = False) -> DataSet:
    """Return the data set of a table row, read from torchvision's files under `root`.

    Args:
        row: which data set.
        root: folder in which torchvision keeps its files.
        download: fetch the files over the network when they are missing.

    Raises:
        InputError: the files are not there, or cannot be read or fetched.
    """
    if root is None:
        raise InputError(
            f"data set {row.name}: expected a folder with torchvision's files, got none; "
            "name it with --data-root (and --download to fetch the files into it)"
        )
    kind: Callable[..., Any] = getattr(import_torchvision().datasets, row.class_name)
    try:
        training, test = (kind(str(root), train=train, download=download) for train in (True, False))
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(
            f"data set {row.name}: expected torchvision's files under {root}, got {error}; "
            "copy them there, or pass --download to fetch them"
        ) from error
    pixels = np.concatenate([_channels_first(training.data), _channels_first(test.data)])
    labels = np.concatenate([np.asarray(training.targets), np.asarray(test.targets)]).astype(np.int64)
    return DataSet(
        name=row.name,
        encoding="lossless",
        num_classes=len(training.classes),
        class_names=tuple(training.classes),
        input_shape=row.input_shape,
        source=ArraySource(pixels),
        labels=labels,
        parts=split_published(len(training.data), len(test.data)),
    )


def _channels_first(images: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return uint8 `[n C H W]` of torchvision's `[n H W]` tensors or `[n H W C]` arrays."""
    array = np.asarray(images, dtype=np.uint8)
    return array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)
