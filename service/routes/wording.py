"""What a client reads about a field that does not fit: expected, came, what to do."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

REMEDY: Final = "/openapi.json describes every field"
LONGEST: Final = 60
_EXPECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "this field",
        "extra_forbidden": "only known fields",
        "dict_type": "an object",
        "model_type": "an object",
        "model_attributes_type": "an object",
    }
)
_BOUND: Final = re.compile(r"(greater|less) than")


def sentence(problem: Mapping[str, Any]) -> str:
    """Return one validation problem in the service's own form.

    Args:
        problem: an entry of pydantic's `errors()`; what our own validators say is already in that form.
    """
    message = str(problem["msg"])
    if problem["type"] == "value_error":
        return message.removeprefix("Value error, ")
    expected = _EXPECTED.get(problem["type"]) or _expected(message)
    return f"expected {expected}, got {_came(problem)}; {REMEDY}"


def _expected(message: str) -> str:
    """Turn `Input should be X` into `X` and `List should have X` into `a list that should have X`."""
    noun, found, rest = message.partition(" should ")
    if not found:
        return f"a valid value ({message})"
    if noun != "Input" or not rest.startswith("be "):
        return f"a {noun.lower()} that should {rest}"
    rest = rest.removeprefix("be ")
    return f"a value {rest}" if _BOUND.match(rest) else rest


def _came(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "missing":
        return "none"
    return short(problem["loc"][-1] if problem["type"] == "extra_forbidden" else problem["input"])


def short(value: Any) -> str:
    """Return a value as a message may repeat it: one line, not long."""
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value[: LONGEST + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
