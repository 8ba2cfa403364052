"""A page taken apart: elements in order with their attributes, the text outside style and script, the headings."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = frozenset({"meta", "link", "img", "source", "br", "input", "hr", "line", "circle"})
LOADING = ("src", "srcset", "href", "action", "data", "poster", "xlink:href", "background", "formaction", "cite")


@dataclass(slots=True)
class Element:
    """One start tag."""

    tag: str
    attributes: dict[str, str]


@dataclass(slots=True)
class Page(HTMLParser):
    """A parsed page; `Page.of(text)` also checks that every element is closed in order."""

    elements: list[Element] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> "Page":
        """Return the parsed page."""
        page = cls()
        HTMLParser.__init__(page, convert_charrefs=True)
        page.feed(text)
        page.close()
        assert page.stack == [], f"not closed: {page.stack}"
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself."""
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost open element is the one that ends."""
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        """Note text, style sheets apart."""
        (self.styles if self.stack[-1:] == ["style"] else self.pieces).append(data)

    def all(self, tag: str) -> list[Element]:
        """Return every element of a kind."""
        return [element for element in self.elements if element.tag == tag]

    @property
    def text(self) -> str:
        """Return the text of the page with single spaces."""
        return re.sub(r"[ \n\t]+", " ", "".join(self.pieces))

    @property
    def references(self) -> list[str]:
        """Return everything an attribute points at."""
        return [e.attributes[name] for e in self.elements for name in LOADING if name in e.attributes]

    def policy(self) -> dict[str, str]:
        """Return the directives of the content security policy in the page's head."""
        (meta,) = [
            e for e in self.all("meta") if e.attributes.get("http-equiv", "").lower() == "content-security-policy"
        ]
        return dict(part.strip().split(" ", 1) for part in meta.attributes["content"].split(";"))


def accessibility_faults(page: Page) -> list[str]:
    """Return what a reader with assistive technology would stumble over; an empty list is good."""
    faults = []
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    faults += [f"id {name} is used twice" for name in {name for name in ids if ids.count(name) > 1}]
    faults += ["html without lang" for e in page.all("html") if not e.attributes.get("lang")]
    faults += ["image without alt" for e in page.all("img") if "alt" not in e.attributes]
    faults += [f"th without scope in {e.attributes}" for e in page.all("th") if "scope" not in e.attributes]
    for element in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            faults += [f"{name} names {x}" for x in element.attributes.get(name, "").split() if x not in ids]
        href = element.attributes.get("href", "")
        faults += [f"link to missing {href}"] if href.startswith("#") and href[1:] not in ids else []
        named = "aria-label" in element.attributes or "aria-labelledby" in element.attributes
        faults += [f"nameless region {element}"] if element.attributes.get("role") == "region" and not named else []
        faults += [f"nameless {element.tag}"] if element.tag in ("progress", "nav") and not named else []
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch(r"h[1-6]", e.tag)]
    faults += ["not exactly one h1"] if levels.count(1) != 1 else []
    faults += [f"heading jumps from {a} to {b}" for a, b in pairwise(levels) if b > a + 1]
    faults += ["no main"] if len(page.all("main")) != 1 else []
    return faults
