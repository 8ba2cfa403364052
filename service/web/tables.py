"""Tables as values: a caption, columns and cells of text; HTML and Markdown draw the same ones."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and whether its cells are numbers, which are set flush right in equal-width digits."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A caption and rows of text; the first cell of a row is its heading."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"expected {len(self.columns)} cells in every row of table {self.caption!r}, got {len(row)}: {row}"
                )


def columns(*titles: str) -> tuple[Column, ...]:
    """Return columns from their headings; a heading that starts with `<` is a column of words, flush left."""
    return tuple(Column(title.removeprefix("<"), numeric=not title.startswith("<")) for title in titles)


def table(caption: str, titles: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a table from its caption, its headings (see `columns`) and its rows of text."""
    return Table(caption, columns(*titles), tuple(tuple(row) for row in rows))


def markdown(one: Table) -> str:
    """Return the table in pipe form with its caption above; bars and line ends in cells are escaped."""
    head = "| " + " | ".join(escape(column.title) for column in one.columns) + " |"
    rule = "|" + "|".join(" ---: " if column.numeric else " --- " for column in one.columns) + "|"
    rows = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in one.rows]
    return "\n".join([f"*{escape(one.caption)}*", "", head, rule, *rows])


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: no tags, no emphasis, no links, no table bars, one line."""
    flat = " ".join(text.split("\n")).replace("\r", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_[]|":
        flat = flat.replace(sign, "\\" + sign)
    return flat
