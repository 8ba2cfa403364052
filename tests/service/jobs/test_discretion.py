"""Errors of jobs name no place on this machine, and lose nothing else.

Seen to fail: registered files with spaces; a radius or a media type taken for a path.
"""

from pathlib import Path

import pytest

from service.jobs.discretion import PLACE, without_places
from service.settings import Settings

SETTINGS = Settings(data=Path("/var/lib/my data"), datasets={"street": "npz:/srv/street files/street.npz"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("expected a file, got nothing at /srv/street files/street.npz; check it", f"nothing at {PLACE}; check it"),
        ("folder /srv/street files/street.npz/a.png", f"folder {PLACE}"),
        ("[Errno 2] No such file: '/var/lib/my data/models/x/1'", f"file: '{PLACE}'"),
        ("expected torchvision's files under /home/a/b, got none", f"under {PLACE}, got none"),
        ("(/etc/passwd)", f"({PLACE})"),
    ],
)
def test_places_are_left_out(text: str, told: str) -> None:
    """Whatever names a file is replaced, the words around it stay."""
    found = without_places(text, SETTINGS)
    assert found.endswith(told)
    assert "/srv" not in found
    assert "my data" not in found


@pytest.mark.parametrize("text", ["at most 8/255, got 9/255", "levelset/evaluation-report 1.1", "a and/or b", "1 / 2"])
def test_what_is_no_place_stays(text: str) -> None:
    """Fractions, media types and slashes between words are no paths."""
    assert without_places(text, SETTINGS) == text
