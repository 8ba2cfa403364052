"""Uploaded images: three formats become plain PNGs, everything else is refused before it is decoded.

Seen to fail when: the list of formats is dropped; the cap on pixels is dropped; transparency turns black; the EXIF
rotation is ignored.
"""

import io

import pytest
from PIL import Image

from service.errors import MalformedRequest, TooLarge
from service.trying.uploads import SIDE, plain_png


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """Return an image as a file."""
    written = io.BytesIO()
    image.save(written, format=form, **options)  # type: ignore[arg-type]
    return written.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_three_formats_are_taken(form: str) -> None:
    """What comes out is an RGB PNG of the same size."""
    with Image.open(io.BytesIO(plain_png(encoded(Image.new("RGB", (20, 10), "red"), form)))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (20, 10))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        encoded(Image.new("RGB", (4, 4)), "BMP"),
        encoded(Image.effect_noise((64, 64), 90), "PNG")[:2000],
        encoded(Image.new("P", (4, 4)), "PNG", save_all=True, append_images=[Image.new("P", (4, 4), 1)]),
    ],
    ids=["empty", "gif", "bmp", "cut", "animated"],
)
def test_other_files_are_refused(data: bytes) -> None:
    """Other formats, damaged files and animations are no images here."""
    with pytest.raises(MalformedRequest, match="image: expected"):
        plain_png(data)


def test_too_many_pixels_are_refused_by_the_header() -> None:
    """Nothing of that size is decoded."""
    with pytest.raises(TooLarge):
        plain_png(encoded(Image.new("1", (3000, 3000)), "PNG"))


def test_large_images_are_made_small_and_transparent_ones_white() -> None:
    """Only a modest picture is kept; where there was nothing there is white."""
    with Image.open(io.BytesIO(plain_png(encoded(Image.new("RGBA", (1500, 300), (0, 0, 0, 0)), "PNG")))) as image:
        assert max(image.size) == SIDE
        assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_camera_s_rotation_is_applied() -> None:
    """What the picture's own data says about its top is obeyed."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(plain_png(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif)))) as image:
        assert image.size == (10, 20)
