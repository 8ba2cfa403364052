"""A folder of images: one sub-folder per class, all images of one size, read through Pillow.

    folder/cat/001.png   folder/cat/002.png   folder/dog/001.png   ...

Classes are the sub-folder names in sorted order. Images are never resized: the first one fixes the size and the colour
mode (grey or RGB), and another size is an error.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ensemble.errors import InputError
from service.catalogue.datasets.splits import split_whole
from service.catalogue.datasets.values import DataSet, Indices

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
LOSSY = {"JPEG", "WEBP"}
GREY = ("1", "L")
DEEP = ("I", "F")  # Pillow's modes of 16 and 32 bits
LARGEST = 4096 * 4096  # pixels; a larger image is refused before it is decoded


@dataclass(frozen=True, slots=True, eq=False)
class FolderSource:
    """Image files decoded on demand.

    Attributes:
        files: one path per image number.
        mode: Pillow's colour mode of all images, `L` or `RGB`.
        input_shape: `(C, H, W)` of all images.
    """

    files: tuple[Path, ...]
    mode: str
    input_shape: tuple[int, int, int]

    def read(self, indices: Indices) -> Tensor:
        """Return the images of these numbers, float32 `[n C H W]` in [0, 1].

        Raises:
            InputError: a file cannot be decoded or has another size.
        """
        images = np.empty((len(indices), *self.input_shape), dtype=np.uint8)
        for row, index in enumerate(indices):
            array = decode(self.files[index], self.mode)
            if array.shape != self.input_shape:
                raise InputError(
                    f"image {self.files[index].name}: expected {list(self.input_shape)} like the first image, got "
                    f"{list(array.shape)}; bring all images to one size"
                )
            images[row] = array
        return torch.from_numpy(images).float() / 255.0

    def fingerprint(self) -> bytes:
        """Return the digest of class, name and bytes of every file."""
        digest = sha256(f"{self.mode}{list(self.input_shape)}".encode())
        for path in self.files:
            digest.update(f"|{path.parent.name}/{path.name}|".encode())
            digest.update(sha256(path.read_bytes()).digest())
        return digest.digest()


def decode(path: Path, mode: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the pixels of an image file as uint8 `[C H W]` in the colour mode `L` or `RGB`.

    Raises:
        InputError: the file is damaged, of another format than its suffix says, too large, or deeper than 8 bits.
    """
    with _opened(path) as image:
        array = np.asarray(image.convert(mode), dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def image_folder(folder: Path) -> DataSet:
    """Return the data set of an image folder; pixels are read only when a part is taken.

    Raises:
        InputError: the folder is missing, has fewer than two classes, a class without images, or too few images.
    """
    if not folder.is_dir():
        raise InputError(f"image folder: expected a folder, got nothing at {folder}; check the path")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise InputError(
            f"image folder {folder}: expected one sub-folder per class and at least two, got {classes}; "
            "sort the images into sub-folders"
        )
    found = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    files = tuple(path for path, _ in found)
    parts = split_whole(len(files))
    with_colour = _is_colour(files[0])
    shape = decode(files[0], "RGB" if with_colour else "L").shape
    return DataSet(
        name=folder.name,
        encoding=_encoding(files),
        num_classes=len(classes),
        class_names=tuple(classes),
        input_shape=(shape[0], shape[1], shape[2]),
        source=FolderSource(files, "RGB" if with_colour else "L", (shape[0], shape[1], shape[2])),
        labels=np.array([label for _, label in found], dtype=np.int64),
        parts=parts,
    )


def _images(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS and path.is_file())
    if not files:
        raise InputError(
            f"image folder {folder}: expected images ending in one of {sorted(FORMATS)}, got none; remove or fill it"
        )
    return files


def _is_colour(path: Path) -> bool:
    with _opened(path) as image:
        return image.mode not in GREY


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Yield an image; whatever is wrong with its file, found now or while it is decoded, is one kind of error."""
    kind = FORMATS[path.suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path, formats=[kind]) as image:
                if image.width * image.height > LARGEST:
                    raise ValueError(f"{image.width}x{image.height} pixels")
                if image.mode.startswith(DEEP):
                    raise ValueError(f"mode {image.mode}, which would be clipped")
                yield image
    # Pillow's readers raise SyntaxError for a broken chunk.
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise InputError(
            f"image {path.name}: expected a readable {kind} of at most {LARGEST} pixels and 8 bits a channel, got one "
            f"that cannot be read ({error}); convert, replace or remove the file"
        ) from error


def _encoding(files: tuple[Path, ...]) -> str:
    used = sorted({FORMATS[path.suffix.lower()] for path in files} & LOSSY)
    return " and ".join(used) if used else "lossless"
