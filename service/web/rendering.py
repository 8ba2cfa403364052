"""The template environment and the files beside it; HTML is always autoescaped, an unknown name is an error."""

from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.web import words

TEMPLATES: Final = Path(__file__).parent / "templates"
STATIC: Final = Path(__file__).parent / "static"


@cache
def environment() -> Environment:
    """Return the one template environment; it is made at the first call, not at import."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(percent=words.percent, number=words.number, seconds=words.seconds, short=words.short_id)
    return made


@cache
def report_style() -> str:
    """Return the text of the one style block of a report: the shared tokens and the report's own rules."""
    return (STATIC / "tokens.css").read_text(encoding="utf-8") + (TEMPLATES / "report.css").read_text(encoding="utf-8")


def static_folder() -> Path:
    """Return the folder that the service serves under `/static`."""
    return STATIC
