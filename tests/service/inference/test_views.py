"""Names of views: what is addressed, and what can never be a name."""

import pytest

from service.errors import UnknownModel
from service.inference.views import View, parse_view


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("digits", View("digits")),
        ("digits.base", View("digits", "base")),
        ("digits.m0", View("digits", "member", 0)),
        ("a-b_9.m17", View("a-b_9", "member", 17)),
    ],
)
def test_names_round_trip(name: str, view: View) -> None:
    """A name gives its view and the view its name."""
    assert parse_view(name) == view
    assert view.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a.m",
        "a.m00",
        "a.m-1",
        "a.M0",
        "a.other",
        "a.base.m0",
        "a\n",
        "a\x00",
        "\u202ea",
        "a" * 97,
    ],
)
def test_other_names_are_unknown(name: str) -> None:
    """Paths, other suffixes, leading zeros, control and right-to-left characters are no names."""
    with pytest.raises(UnknownModel):
        parse_view(name)
