"""Encoded images to rows: PNG, JPEG and WEBP of the model's exact size, judged by their header before decoding."""

import io
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import MalformedRequest, TooLarge

FORMATS: Final = ("PNG", "JPEG", "WEBP")
MAX_PIXELS: Final = 1 << 22
_PIXELS: Final = {1: "L", 3: "RGB"}  # channels of a network -> how an image is read
_PLAIN: Final = {1: frozenset({"1", "L"}), 3: frozenset({"L", "P", "RGB"})}  # modes that convert without a choice


def decode_images(elements: Sequence[bytes | memoryview], shape: tuple[int, ...], what: str) -> NDArray[np.uint8]:
    """Return the images as uint8 rows `[rows C H W]`.

    Args:
        elements: one encoded image each.
        shape: `(C, H, W)` that every image must have; nothing is resized.
        what: the tensor, for messages.

    Raises:
        MalformedRequest: an image is damaged, of another format, size or colour, animated, or rotated by its EXIF data.
        TooLarge: an image announces more pixels than are ever decoded.
    """
    channels, height, width = shape
    if channels not in _PIXELS:
        raise MalformedRequest(
            f"{what}: expected tensors, since this model takes {channels} channels and no image has those, got images; "
            "send `input`"
        )
    rows = np.empty((len(elements), channels, height, width), dtype=np.uint8)
    for index, element in enumerate(elements):
        rows[index] = _decode(element, shape, f"{what}[{index}]")
    return rows


def _decode(element: bytes | memoryview, shape: tuple[int, ...], what: str) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of what looks like an attack
            with Image.open(io.BytesIO(element), formats=FORMATS) as image:
                _check(image, shape, what)
                pixels = np.asarray(image.convert(_PIXELS[shape[0]]), dtype=np.uint8)
    except (MalformedRequest, TooLarge):
        raise
    except Exception as error:  # a decoder raises almost anything on damaged data
        raise MalformedRequest(
            f"{what}: expected a whole image in one of {list(FORMATS)}, got bytes that are none "
            f"({type(error).__name__}); encode it again"
        ) from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check(image: Any, shape: tuple[int, ...], what: str) -> None:
    """Refuse by the header, before a pixel is decoded."""
    channels, height, width = shape
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(
            f"{what}: expected at most {MAX_PIXELS} pixels, got {image.width} x {image.height}; send it smaller"
        )
    if (image.width, image.height) != (width, height):
        raise MalformedRequest(
            f"{what}: expected {width} x {height} pixels, got {image.width} x {image.height}; resize it yourself"
        )
    if getattr(image, "n_frames", 1) != 1:
        raise MalformedRequest(f"{what}: expected one still image, got {image.n_frames} frames; send one of them")
    if image.mode not in _PLAIN[channels] or "transparency" in image.info:
        raise MalformedRequest(
            f"{what}: expected 8-bit {'grey' if channels == 1 else 'RGB or grey'} pixels without transparency, got "
            f"mode {image.mode!r}; convert it"
        )
    if image.getexif().get(0x0112, 1) != 1:
        raise MalformedRequest(f"{what}: expected an upright image, got one that its EXIF data rotates; rotate it")
