"""Choosing a representation.

Seen to fail: `q=0` taken for acceptance; the widest entry preferred to an exact type.
"""

import pytest

from service.errors import NotAcceptable
from service.routes.negotiation import choose

OFFERED = {"json": "application/json", "html": "text/html", "markdown": "text/markdown"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "wanted", "chosen"),
    [
        (None, None, "json"),
        ("", None, "json"),
        ("*/*", None, "json"),
        (BROWSER, None, "html"),
        (BROWSER, "markdown", "markdown"),
        ("text/*", None, "html"),
        ("text/markdown, text/html;q=0.5", None, "markdown"),
        ("application/json;q=0.1, text/markdown;q=0.2", None, "markdown"),
        ("text/*;q=0.9, text/html;q=0.1", None, "markdown"),
        ("image/png", "json", "json"),
    ],
)
def test_choice(accept: str | None, wanted: str | None, chosen: str) -> None:
    """`?format=` wins, then the highest weight, then the first offered."""
    assert choose(OFFERED, accept, wanted) == chosen


@pytest.mark.parametrize(
    ("accept", "wanted"), [("image/png", None), ("text/html;q=0", None), (None, "pdf"), ("nonsense", None)]
)
def test_nothing_acceptable(accept: str | None, wanted: str | None) -> None:
    """What cannot be served is refused."""
    with pytest.raises(NotAcceptable):
        choose(OFFERED, accept, wanted)
