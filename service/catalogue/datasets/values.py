"""What a data set is: pixels read on demand, labels, and five disjoint parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.errors import InputError, UnknownName

Indices = NDArray[np.int64]


class Source(Protocol):
    """Where the pixels lie; images are numbered from 0 and decoded only when asked for."""

    def read(self, indices: Indices) -> Tensor:
        """Return the images of these numbers, float32 `[n C H W]` in [0, 1]."""

    def fingerprint(self) -> bytes:
        """Return a digest of all images without decoding them: two sources of one fingerprint hold the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images of one part, with labels and identity.

    Attributes:
        inputs: float32 `[n C H W]` in [0, 1].
        labels: int64 `[n]`.
        ids: numbers of the images inside their data set; parts of one data set share none.
        digest: SHA-256 over pixels and labels.
    """

    inputs: Tensor
    labels: Tensor
    ids: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """A labelled image data set with fixed, disjoint parts.

    Attributes:
        name: catalogue name, e.g. `digits`.
        encoding: how the pixels were stored, e.g. `lossless` or `JPEG`; printed in every report.
        num_classes: number of classes.
        class_names: one name per class.
        input_shape: `(C, H, W)` of one image.
        source: reads the pixels.
        labels: int64 `[images]`.
        parts: image numbers of each part, in a fixed random order; a smaller part is a prefix of a larger one.
    """

    name: str
    encoding: str
    num_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    source: Source
    labels: Indices
    parts: Mapping[str, Indices]

    @property
    def digest(self) -> str:
        """SHA-256 over images as stored, labels and parts: what tells two data sets of one name apart."""
        digest = sha256(self.source.fingerprint())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        for name in sorted(self.parts):
            digest.update(f"|{name}|{len(self.parts[name])}|".encode())
            digest.update(np.ascontiguousarray(self.parts[name], dtype="<i8").tobytes())
        return digest.hexdigest()

    def size(self, split: str) -> int:
        """Return how many images the part holds.

        Raises:
            UnknownName: there is no such part.
        """
        if split not in self.parts:
            raise UnknownName(f"part of data set {self.name}", split, self.parts)
        return len(self.parts[split])

    def part(self, split: str, n: int | None = None) -> Part:
        """Return the first `n` images of a part, or all of it.

        Args:
            split: train, calibration, attacker, validation or test.
            n: how many images; between 1 and the size of the part.

        Raises:
            UnknownName: there is no such part.
            InputError: the part does not hold `n` images.
        """
        size = self.size(split)
        if size == 0 or (n is not None and not 1 <= n <= size):
            wanted = "an image" if n is None else f"{n} images"
            raise InputError(
                f"data set {self.name}, part {split}: expected to take between 1 and its {size} images, got a request "
                f"for {wanted}; ask for fewer or use another part"
            )
        chosen = self.parts[split] if n is None else self.parts[split][:n]
        inputs = self.source.read(chosen)
        labels = torch.from_numpy(self.labels[chosen].astype(np.int64))
        return Part(inputs, labels, tuple(int(index) for index in chosen), content_digest(inputs, labels))


def content_digest(inputs: Tensor, labels: Tensor) -> str:
    """Return the SHA-256 over the shape and bytes of float32 inputs and int64 labels, in hexadecimal."""
    digest = sha256()
    for array in (inputs.contiguous().numpy().astype("<f4"), labels.contiguous().numpy().astype("<i8")):
        digest.update(f"{array.dtype.str}{list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """Images held in memory as numbers: uint8 `[n C H W]` in 0..255, or float32 in [0, 1]."""

    pixels: NDArray[np.uint8] | NDArray[np.float32]

    def read(self, indices: Indices) -> Tensor:
        """Return the images of these numbers, float32 `[n C H W]` in [0, 1]."""
        chosen = torch.from_numpy(np.ascontiguousarray(self.pixels[indices]))
        return chosen.float() / 255.0 if chosen.dtype == torch.uint8 else chosen

    def fingerprint(self) -> bytes:
        """Return the digest of the pixels."""
        digest = sha256(f"{self.pixels.dtype.str}{list(self.pixels.shape)}".encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.digest()
