"""Images for figures 10 and 11: JPEG-re-encoded CIFAR-10, torchvision's CIFAR-10, or the digits that need no file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ensemble.errors import InputError
from service.catalogue import datasets

if TYPE_CHECKING:
    from attacks.paper import PaperData
    from service.catalogue.datasets.values import DataSet

Read = Callable[[int, int], tuple[Tensor, Tensor]]
JPEG_FILE = "cifar10_jpeg.npz"
TRAIN, TEST = 50_000, 10_000
DIGITS_TRAIN = 1500


def load(images: Path | None, torchvision_root: Path, limit: int) -> "PaperData":
    """Return the first of these that is there, named as what it is.

    Args:
        images: folder that may hold `cifar10_jpeg.npz`, or None.
        torchvision_root: folder that may hold torchvision's CIFAR-10.
        limit: images read at most to train and to judge on.

    Raises:
        InputError: a folder was named that holds no `cifar10_jpeg.npz`.
    """
    from attacks.paper import cut

    if images is not None:
        if not (images / JPEG_FILE).exists():
            raise InputError(f"images: expected {JPEG_FILE} in {images}, got none; leave --images out, or correct it")
        return _jpeg(images / JPEG_FILE, limit)
    try:
        found = datasets.load("cifar10", torchvision_root)
    except InputError:
        digits = datasets.load("digits")
        sizes = (DIGITS_TRAIN, len(digits.labels) - DIGITS_TRAIN)
        return cut("digits, 8x8, in place of CIFAR-10", *_readers(digits, DIGITS_TRAIN), sizes, limit=limit,
                   comparable=False)  # fmt: skip
    return cut("CIFAR-10", *_readers(found, TRAIN), (TRAIN, TEST), limit=limit, comparable=True)


def offered(torchvision_root: Path) -> str:
    """Return the name of the data set that `load` would read where no folder is named."""
    try:
        datasets.load("cifar10", torchvision_root)
    except InputError:
        return "digits"
    return "cifar10"


def _readers(source: "DataSet", train: int) -> tuple[Read, Read]:
    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        chosen = np.arange(start, stop)
        return source.source.read(chosen), torch.from_numpy(source.labels[chosen].astype(np.int64))

    return read, lambda start, stop: read(train + start, train + stop)


def _jpeg(path: Path, limit: int) -> "PaperData":
    from attacks.paper import cut

    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}

    def reader(split: str) -> Read:
        offsets, stream = arrays[f"{split}_offsets"], arrays[f"{split}_jpeg"].tobytes()

        def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
            from PIL import Image

            files = (io.BytesIO(stream[offsets[i] : offsets[i + 1]]) for i in range(start, stop))
            pixels = np.stack([np.asarray(Image.open(file)) for file in files])
            tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).contiguous()
            return tensor, torch.from_numpy(arrays[f"{split}_labels"][start:stop].astype(np.int64))

        return read

    sizes = (len(arrays["train_labels"]), len(arrays["test_labels"]))
    return cut("JPEG-re-encoded CIFAR-10", reader("train"), reader("test"), sizes, limit=limit, comparable=True)
