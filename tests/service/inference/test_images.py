"""Encoded images: pixels come out as they went in, and everything else is refused by the header.

Seen to fail: rows and columns exchanged; the size checked after decoding; a GIF renamed; the alpha channel dropped; the
EXIF rotation ignored; the first frame of an animation taken.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import MalformedRequest, TooLarge
from service.inference.images import decode_images

SHAPE = (3, 4, 6)
PIXELS: Any = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def encoded(image: Any, form: str = "PNG", **options: Any) -> bytes:
    """Return an image's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_pixels_survive() -> None:
    """PNG and lossless WEBP keep every pixel, channels first; JPEG keeps the shape; grey is read as RGB."""
    image = Image.fromarray(PIXELS)
    elements = [encoded(image), encoded(image, "WEBP", lossless=True), encoded(image.convert("L"))]
    rows = decode_images(elements, SHAPE, "image")
    assert rows.shape == (3, *SHAPE)
    for row in rows[:2]:
        np.testing.assert_array_equal(row, PIXELS.transpose(2, 0, 1))
    assert (rows[2] == rows[2][:1]).all()
    assert decode_images([encoded(image, "JPEG")], SHAPE, "image").shape == (1, *SHAPE)
    grey = decode_images([encoded(image.convert("L"))], (1, 4, 6), "image")
    np.testing.assert_array_equal(grey[0, 0], np.asarray(image.convert("L")))


def rotated() -> bytes:
    """Return an image that its EXIF data rotates."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(PIXELS), "JPEG", exif=exif.tobytes())


def animated(form: str) -> bytes:
    """Return three frames."""
    frames = [Image.new("RGB", (6, 4), (shade, 0, 0)) for shade in (0, 100, 200)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:])


REFUSED: dict[str, tuple[bytes, str]] = {
    "another size": (encoded(Image.new("RGB", (4, 6))), "resize it"),
    "truncated": (encoded(Image.fromarray(PIXELS))[:60], "encode it again"),
    "a GIF": (encoded(Image.new("L", (6, 4)), "GIF"), "encode it again"),
    "a BMP": (encoded(Image.fromarray(PIXELS), "BMP"), "encode it again"),
    "alpha": (encoded(Image.new("RGBA", (6, 4))), "convert it"),
    "CMYK": (encoded(Image.new("CMYK", (6, 4)), "JPEG"), "convert it"),
    "16 bits": (encoded(Image.new("I;16", (6, 4))), "convert it"),
    "a transparent palette": (encoded(Image.new("P", (6, 4)), transparency=0), "convert it"),
    "rotated": (rotated(), "rotate it"),
    "an animated PNG": (animated("PNG"), "3 frames"),
    "an animated WEBP": (animated("WEBP"), "3 frames"),
    "text": (b"<svg/>", "encode it again"),
    "nothing": (b"", "encode it again"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_such_image_is_refused(case: str) -> None:
    """The refusal says what to do and shows no path."""
    blob, words = REFUSED[case]
    with pytest.raises(MalformedRequest, match=words) as caught:
        decode_images([blob], SHAPE, "image")
    assert "/" not in str(caught.value).replace("image/", "")


def test_an_image_that_only_claims_to_be_huge_is_not_decoded() -> None:
    """The header's size decides before any memory is taken."""
    small = bytearray(encoded(Image.fromarray(PIXELS)))
    small[16:24] = struct.pack(">II", 50_000, 50_000)
    small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    with pytest.raises((TooLarge, MalformedRequest)):
        decode_images([bytes(small)], SHAPE, "image")


def test_a_network_without_such_channels_takes_no_images() -> None:
    """Images have one or three channels."""
    with pytest.raises(MalformedRequest, match="2 channels"):
        decode_images([encoded(Image.fromarray(PIXELS))], (2, 4, 6), "image")
