"""How a malformed request is refused: what was expected, what came, what to do, and never a long echo of it."""

from typing import Any, Final, NoReturn

from service.errors import MalformedRequest

_LISTED: Final = 8  # items of a list that a message repeats


def refuse(what: str, expected: str, got: Any) -> NoReturn:
    """Raise MalformedRequest for a value that the model's metadata does not allow.

    Args:
        what: path of the value in the request.
        expected: what would have been read.
        got: the value itself; it is shortened.
    """
    raise MalformedRequest(f"{what}: expected {expected}, got {short(got)}; the model's metadata says what it takes")


def short(value: Any) -> str:
    """Return a value in at most about eighty characters."""
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, list) and len(value) > _LISTED:
        return f"a list of {len(value)} items"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return "a nested list"
    if isinstance(value, list):
        return "[" + ", ".join(short(item) for item in value) + "]"
    return "nothing" if value is None else repr(value)[:80]
