"""The rule every stored name obeys, checked before it is joined to a path."""

import re

from ensemble.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,95}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
RESERVED = frozenset({"stats", "index"})


def check_name(name: str) -> str:
    """Return `name` when it may name an ensemble.

    Raises:
        InputError: it breaks the pattern or is a reserved word; a path can never pass.
    """
    if NAME.fullmatch(name) is None or name.lower() in RESERVED:
        raise InputError(
            f"ensemble name: expected a letter or digit followed by at most 95 letters, digits, '_' or '-', other than "
            f"{sorted(RESERVED)}, got {name[:120]!r}; choose such a name"
        )
    return name


def check_version(version: str) -> str:
    """Return `version` when it is a decimal version string without leading zeros.

    Raises:
        InputError: it is anything else.
    """
    if VERSION.fullmatch(version) is None:
        raise InputError(f"version: expected a decimal number, '1' or higher, got {version[:120]!r}; omit it")
    return version
