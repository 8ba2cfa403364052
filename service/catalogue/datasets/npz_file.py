"""A data set in one `.npz` file, in one of three documented layouts.

    whole       x, y                                                        cut into all five parts here
    published   x_train, y_train, x_test, y_test                            `test` holds the test images only
    encoded     train_jpeg, train_offsets, train_labels, test_jpeg, ...     as published; image i is the bytes
                                                                            offsets[i]:offsets[i+1], decoded with Pillow

Images are uint8 (0..255) or floating point in [0, 1], `[n H W]`, `[n H W C]` or `[n C H W]` with C of 1 or 3; labels
are integers from 0 on. Optional keys: `classes` (one name per class) and `encoding` (how the pixels were stored
before). Object arrays are refused: nothing is ever unpickled.
"""

import io
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ensemble.errors import InputError
from service.catalogue.datasets.splits import split_published, split_whole
from service.catalogue.datasets.values import ArraySource, DataSet, Indices, Source

WHOLE = ("x", "y")
PUBLISHED = ("x_train", "y_train", "x_test", "y_test")
ENCODED = ("train_jpeg", "train_offsets", "train_labels", "test_jpeg", "test_offsets", "test_labels")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class JpegSource:
    """JPEG byte streams laid end to end, decoded on demand.

    Attributes:
        streams: all bytes, uint8.
        starts: first byte of each image.
        ends: one past the last byte of each image.
        shape: `(C, H, W)` of all images.
    """

    streams: NDArray[np.uint8]
    starts: Indices
    ends: Indices
    shape: tuple[int, int, int]

    def read(self, indices: Indices) -> Tensor:
        """Return the images of these numbers, float32 `[n C H W]` in [0, 1].

        Raises:
            InputError: a stream is no JPEG or has another size.
        """
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for row, index in enumerate(indices):
            image = _decode(self.streams[self.starts[index] : self.ends[index]].tobytes())
            if image.shape != self.shape:
                raise InputError(
                    f"encoded image {index}: expected {list(self.shape)} like the first, got {list(image.shape)}; "
                    "encode one size only"
                )
            images[row] = image
        return torch.from_numpy(images).float() / 255.0

    def fingerprint(self) -> bytes:
        """Return the digest of the byte streams and their bounds."""
        digest = sha256(f"jpeg{list(self.shape)}".encode())
        for array in (self.streams, self.starts, self.ends):
            digest.update(np.ascontiguousarray(array).data)
        return digest.digest()


def npz_file(path: Path) -> DataSet:
    """Return the data set of an `.npz` file.

    Raises:
        InputError: the file is missing, damaged, or follows none of the layouts; the message lists the keys.
    """
    arrays = _read(path)
    source, labels, parts, shape = _layout(arrays, path)
    classes = _class_names(arrays, labels, path)
    encoded = "JPEG" if isinstance(source, JpegSource) else "lossless"
    return DataSet(
        name=path.stem,
        encoding=str(arrays["encoding"]) if "encoding" in arrays else encoded,
        num_classes=len(classes),
        class_names=classes,
        input_shape=shape,
        source=source,
        labels=labels,
        parts=parts,
    )


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise InputError(f".npz data set: expected a file, got nothing at {path}; check the path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f".npz data set {path.name}: expected an archive of plain arrays, got one that cannot be read ({error}); "
            "write it again with numpy.savez"
        ) from error


def _layout(arrays: Arrays, path: Path) -> tuple[Source, Indices, dict[str, Indices], tuple[int, int, int]]:
    if set(WHOLE) <= set(arrays):
        pixels, labels = _images(arrays["x"], path), _labels(arrays["y"], len(arrays["x"]), path)
        return ArraySource(pixels), labels, split_whole(len(labels)), _shape(pixels)
    if set(PUBLISHED) <= set(arrays):
        training, test = _images(arrays["x_train"], path), _images(arrays["x_test"], path)
        labels = np.concatenate(
            [_labels(arrays["y_train"], len(training), path), _labels(arrays["y_test"], len(test), path)]
        )
        if training.shape[1:] != test.shape[1:] or training.dtype != test.dtype:
            raise InputError(
                f".npz data set {path.name}: expected x_test like x_train ({training.dtype} {training.shape[1:]}), got "
                f"{test.dtype} {test.shape[1:]}; store both alike"
            )
        pixels = np.concatenate([training, test])
        return ArraySource(pixels), labels, split_published(len(training), len(test)), _shape(pixels)
    if set(ENCODED) <= set(arrays):
        return _encoded(arrays, path)
    raise InputError(
        f".npz data set {path.name}: expected the keys {list(WHOLE)}, {list(PUBLISHED)} or {list(ENCODED)}, got "
        f"{sorted(arrays)}; rename the arrays"
    )


def _encoded(arrays: Arrays, path: Path) -> tuple[Source, Indices, dict[str, Indices], tuple[int, int, int]]:
    first, second = arrays["train_offsets"].astype(np.int64), arrays["test_offsets"].astype(np.int64)
    for offsets, streams in ((first, arrays["train_jpeg"]), (second, arrays["test_jpeg"])):
        if offsets.ndim != 1 or len(offsets) < 2 or (np.diff(offsets) <= 0).any() or offsets[-1] > len(streams):
            raise InputError(
                f".npz data set {path.name}: expected rising offsets inside the {len(streams)} bytes, got others; "
                "offsets[i]:offsets[i+1] are the bytes of image i"
            )
    streams = np.concatenate([arrays["train_jpeg"], arrays["test_jpeg"]]).astype(np.uint8)
    shift = len(arrays["train_jpeg"])
    starts = np.concatenate([first[:-1], second[:-1] + shift])
    ends = np.concatenate([first[1:], second[1:] + shift])
    labels = np.concatenate(
        [
            _labels(arrays["train_labels"], len(first) - 1, path),
            _labels(arrays["test_labels"], len(second) - 1, path),
        ]
    )
    shape = _decode(streams[starts[0] : ends[0]].tobytes()).shape
    source = JpegSource(streams, starts, ends, (shape[0], shape[1], shape[2]))
    return source, labels, split_published(len(first) - 1, len(second) - 1), source.shape


def _images(array: NDArray[Any], path: Path) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return uint8 or float32 `[n C H W]` of an array in one of the accepted forms."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise InputError(
            f".npz data set {path.name}: expected images [n H W], [n H W C] or [n C H W] with C of 1 or 3, got "
            f"{list(array.shape)}; reshape them"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f".npz data set {path.name}: expected uint8 or floating-point images, got {array.dtype}; convert them"
        )
    pixels = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(pixels).all() or (pixels.size and (pixels.min() < 0 or pixels.max() > 1)):
        raise InputError(
            f".npz data set {path.name}: expected finite floating-point images in [0, 1], got the range "
            f"[{pixels.min():g}, {pixels.max():g}]; rescale them (normalisation belongs to the network)"
        )
    return pixels


def _labels(array: NDArray[Any], count: int, path: Path) -> Indices:
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer) or (count and array.min() < 0):
        raise InputError(
            f".npz data set {path.name}: expected {count} integer labels from 0 on, got {array.dtype} of shape "
            f"{list(array.shape)}; store class numbers"
        )
    return array.astype(np.int64)


def _class_names(arrays: Arrays, labels: Indices, path: Path) -> tuple[str, ...]:
    needed = int(labels.max()) + 1
    if needed > len(labels):
        raise InputError(
            f".npz data set {path.name}: expected labels below the number of images, {len(labels)}, got "
            f"{needed - 1}; number the classes from 0 on"
        )
    names = tuple(map(str, arrays["classes"].ravel() if "classes" in arrays else range(needed)))
    if len(names) < needed:
        raise InputError(
            f".npz data set {path.name}: expected a name for each of {needed} classes, got {len(names)}; "
            "complete the key 'classes'"
        )
    return names


def _shape(pixels: NDArray[Any]) -> tuple[int, int, int]:
    return (pixels.shape[1], pixels.shape[2], pixels.shape[3])


def _decode(stream: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(stream), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"encoded image: expected a JPEG stream, got {error}; check the offsets") from error
