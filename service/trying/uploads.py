"""Uploaded images: judged by their header, decoded once, kept as plain RGB of a modest size."""

import io
import warnings
from typing import Any, Final

from PIL import Image, ImageOps

from service.errors import MalformedRequest, TooLarge
from service.inference.images import FORMATS, MAX_PIXELS

MAX_BYTES: Final = 4 << 20
SIDE: Final = 512  # pixels of the longer side that are kept


def plain_png(data: bytes) -> bytes:
    """Return an uploaded image as an upright RGB PNG, at most `SIDE` pixels long; transparency becomes white.

    Args:
        data: a whole PNG, JPEG or WEBP file.

    Raises:
        MalformedRequest: it is damaged, of another format, or animated.
        TooLarge: it announces more pixels than are ever decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of what looks like an attack
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image)
                upright = ImageOps.exif_transpose(image)
                upright.thumbnail((SIDE, SIDE))
                written = io.BytesIO()
                _on_white(upright).save(written, format="PNG")
    except (MalformedRequest, TooLarge):
        raise
    except Exception as error:  # a decoder raises almost anything on damaged data
        raise MalformedRequest(
            f"image: expected a whole image in one of {list(FORMATS)}, got bytes that are none "
            f"({type(error).__name__}); encode it again"
        ) from None
    return written.getvalue()


def _check(image: Any) -> None:
    """Refuse by the header, before a pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(
            f"image: expected at most {MAX_PIXELS} pixels, got {image.width} x {image.height}; send it smaller"
        )
    if getattr(image, "n_frames", 1) != 1:
        raise MalformedRequest(f"image: expected one still image, got {image.n_frames} frames; send one of them")


def _on_white(image: Image.Image) -> Image.Image:
    whole = image.convert("RGBA")
    paper = Image.new("RGBA", whole.size, "white")
    paper.alpha_composite(whole)
    return paper.convert("RGB")
