"""The configuration of the site is whole: every page has its place in the navigation, and nothing is fetched.

Seen to fail with: a page left out of the navigation, a navigation entry without a page, a font of a foreign host.
"""

import re

from tests.docs.pages import PAGES, ROOT

CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_page_has_its_place_in_the_navigation() -> None:
    """The navigation names each page of docs/ once; add a new page to mkdocs.yml."""
    listed = re.findall(r"^\s+- (?:[^:\n]+: )?(\S+\.md)$", CONFIGURATION, re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert sorted(listed) == sorted(pages)


def test_the_site_fetches_nothing() -> None:
    """Fonts are off, no address stands in the configuration, and the offline plugin's script is a file of ours."""
    assert "://" not in CONFIGURATION
    assert "font: false" in CONFIGURATION
    (script,) = re.findall(r"polyfills: \[(\S+)\]", CONFIGURATION)
    assert "iframe-worker" in script  # by this word the plugin sees that it need not add its own
    assert (ROOT / "docs" / script).is_file()
