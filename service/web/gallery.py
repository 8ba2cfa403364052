"""Attacked inputs to look at: pictures inside the page, and in words what everybody answers to them."""

import base64
import binascii
from collections import Counter
from typing import TYPE_CHECKING, Final

from service.web import words
from service.web.tables import Table, table
from service.web.view import Exhibit, Picture

if TYPE_CHECKING:
    from attacks.report import EvaluationReport
    from attacks.schema import GalleryItem

MAGIC: Final = b"\x89PNG\r\n\x1a\n"
KINDS: Final = {
    "lost": "Lost: a white-box attack fools the served network.",
    "leak": "Leaked: held under the white-box attack, lost to an example made on the base.",
    "held": "Held: right under both.",
}


def exhibits(report: "EvaluationReport") -> tuple[Exhibit, ...]:
    """Return the attacked inputs of a report, lost ones first; none where the report has none.

    Args:
        report: the evaluation.
    """
    return tuple(_exhibit(item) for item in report.gallery)


def _exhibit(item: "GalleryItem") -> Exhibit:
    name = f"image {item.index}, class {item.label}"
    radius = f"{words.norm_label(item.norm)} ≤ {words.epsilon(item.epsilon)}"
    times = f"{item.difference_scale:.3g}"
    pictures = (
        (item.original_png, "original", f"Original of {name}: the input that the data set holds, before any attack."),
        (item.perturbed_png, "attacked", f"The same input after {item.attack} at {radius}: {_answers(item)}."),
        (
            item.difference_png,
            f"change × {times}",
            f"What the attack changed in {name}, drawn around mid-grey and multiplied by {times}.",
        ),
    )
    return Exhibit(
        title=f"Image {item.index} · class {item.label}",
        kind=item.kind,
        meaning=KINDS.get(item.kind, item.kind),
        made=f"{item.attack}, {radius}",
        answers=_answers(item),
        pictures=tuple(Picture(source(png), label, alt) for png, label, alt in pictures),
    )


def _answers(item: "GalleryItem") -> str:
    said = f"served answer {item.served_label}, base {item.base_label}"
    if not item.member_labels:
        return said
    votes = Counter(item.member_labels).most_common()
    counts = ", ".join(f"{count} {'says' if count == 1 else 'say'} {label}" for label, count in votes)
    return f"{said}; of the members {counts}"


def source(text: str) -> str:
    """Return the address of a picture inside the page; empty for anything that is not a PNG file in base64.

    Args:
        text: from a report, hence from anywhere.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data.startswith(MAGIC) else ""


def listing(shown: tuple[Exhibit, ...]) -> Table | None:
    """Return the gallery as a table, for readers without pictures; None for an empty one.

    Args:
        shown: of `exhibits`.
    """
    if not shown:
        return None
    rows = [(one.title, one.kind, one.made, one.answers) for one in shown]
    caption = "Attacked images and the answers to them. " + " ".join(
        meaning for kind, meaning in KINDS.items() if any(one.kind == kind for one in shown)
    )
    return table(caption, ("<Image", "<Kind", "<Attack", "<Answers"), rows)
