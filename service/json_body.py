"""JSON from outside: UTF-8 only, and nested no deeper than any request needs."""

import json
import re
from collections.abc import Callable
from typing import Any, Final

from service.errors import MalformedRequest

MAX_DEPTH: Final = 32
# A whole string, ended or not: each byte is looked at once, whatever the text.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def load_json(body: bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text.

    Args:
        body: UTF-8, without a byte order mark.
        parse_constant: called with `NaN`, `Infinity` and `-Infinity`; None reads them as numbers.

    Raises:
        MalformedRequest: it is no JSON, or nested deeper than `MAX_DEPTH`.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise MalformedRequest(f"request: expected at most {MAX_DEPTH} nested levels, got more; flatten it")
    try:
        return json.loads(body.decode(), parse_constant=parse_constant)
    except ValueError as error:
        raise MalformedRequest(f"request: expected JSON, got text that is none ({str(error)[:120]})") from None


def _depth(body: bytes) -> int:
    """Return the deepest level, brackets inside strings left out."""
    deepest = level = 0
    for token in _TOKEN.finditer(body):
        opening = token[0] in (b"[", b"{")
        level += 1 if opening else -1 if token[0] in (b"]", b"}") else 0
        deepest = max(deepest, level)
    return deepest
