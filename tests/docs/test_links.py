"""Relative links of the documentation lead somewhere, pages can be reached, references in docstrings hold.

Seen to fail with: a link to a missing file, to a missing heading, to a machine path; a page no other page links to; a
docstring that cites a section the page does not have.
"""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, headings, links

SOURCES = [path for package in ("ensemble", "attacks", "service") for path in (ROOT / package).rglob("*.py")]
_CITED = re.compile(r"docs/(\w+\.md)(?:,|\s)\s*(?:sections?\s+)?((?:\d+(?:,\s*|\s+to\s+|\s+and\s+)?)+)")
# A reader has none of these folders.
_FOREIGN = re.compile(r"(?<![\w.:])/(?:home|mnt|root|tmp|work)/|file://")


def broken_links(text: str, page: Path) -> list[str]:
    """Return the relative links of a page's text that lead nowhere."""
    return [target for target in links(text) if not _leads_somewhere(target, text, page)]


def _leads_somewhere(target: str, text: str, page: Path) -> bool:
    if target.startswith("https://"):
        return True
    path, _, anchor = target.partition("#")
    if not path:
        return anchor in headings(text)
    other = (page.parent / path).resolve()
    if not other.is_relative_to(ROOT) or not other.exists():
        return False
    return not anchor or anchor in headings(other.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_resolves(page: Path) -> None:
    """A link names an existing file of the repository, and an existing heading of it."""
    assert broken_links(page.read_text(encoding="utf-8"), page) == []


@pytest.mark.parametrize(
    "target", ["missing.md", "index.md#no-such-heading", "#nowhere", "../../etc/passwd", "http://x"]
)
def test_a_broken_link_is_noticed(target: str) -> None:
    """Links to missing files, missing headings, places outside the repository and plain http are found."""
    assert broken_links(f"# Page\n\n[there]({target})\n", ROOT / "docs" / "planted.md") == [target]


def test_a_good_link_is_not_reported() -> None:
    """Links to a page, to a heading of it and to a heading of the page itself pass."""
    text = "# One page\n\n[a](index.md) [b](index.md#start-here) [c](#one-page) [d](https://arxiv.org/abs/2210.17216)\n"
    assert broken_links(text, ROOT / "docs" / "planted.md") == []


def reached_pages(start: Path) -> set[Path]:
    """Return the pages of the documentation that links lead to from one page, itself included."""
    reached, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        targets = (target.partition("#")[0] for target in links(page.read_text(encoding="utf-8")))
        new = {(page.parent / target).resolve() for target in targets if target.endswith(".md")} - reached
        reached |= new
        waiting += [page for page in new if page.is_relative_to(ROOT) and page.exists()]
    return reached


def test_every_page_can_be_reached_from_the_index() -> None:
    """Links lead from the start page to every page of the folder."""
    missing = {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - reached_pages(ROOT / "docs" / "index.md")
    assert missing == set()


def test_a_missing_image_is_noticed() -> None:
    """A picture must be in the repository, too."""
    assert broken_links("# Page\n\n![curve](images/missing.svg)\n", ROOT / "docs" / "planted.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_written_for_users(page: Path) -> None:
    """No page names a folder of the machine it was written on, or holds a place that was to be filled in."""
    text = page.read_text(encoding="utf-8")
    assert _FOREIGN.findall(text) == []
    assert "@@" not in text
    assert _FOREIGN.findall("see /home/me/notes.md")


def cited_sections(text: str) -> set[tuple[str, int]]:
    """Return the (page, section) pairs a source file cites, ranges written out."""
    found = set()
    for page, numbers in _CITED.findall(text):
        parts = re.findall(r"\d+|to", numbers)
        for position, part in enumerate(parts):
            if part == "to":
                first, last = int(parts[position - 1]), int(parts[position + 1])
                found |= {(page, number) for number in range(first, last + 1)}
            else:
                found.add((page, int(part)))
    return found


def test_every_section_a_docstring_cites_exists() -> None:
    """A reference such as `docs/mathematics.md, section 4` in the code names a numbered heading of that page."""
    cited = set().union(*(cited_sections(path.read_text(encoding="utf-8")) for path in SOURCES))
    assert ("mathematics.md", 6) in cited  # the pattern still reads what the code writes
    missing = {(name, number) for name, number in cited if not _has_section(name, number)}
    assert missing == set()


def _has_section(name: str, number: int) -> bool:
    page = ROOT / "docs" / name
    return page.exists() and re.search(rf"^## {number}\. ", page.read_text(encoding="utf-8"), re.MULTILINE) is not None


def test_citations_are_read_whole() -> None:
    """Lists and ranges of sections are understood."""
    text = "(docs/mathematics.md, 2 to 4) (docs/mathematics.md, section 9) (docs/mathematics.md, 3 and 16)"
    assert cited_sections(text) == {("mathematics.md", n) for n in (2, 3, 4, 9, 16)}
