"""Canonical JSON and the digests made of it: equal content has equal bytes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys, no spaces and no NaN.

    Args:
        value: anything `json` can write; tuples become lists.

    Returns:
        One line of text; equal values give equal text.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def seed_from(*parts: Any) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else.

    Args:
        parts: JSON values, e.g. a root seed and the name of a purpose.

    Returns:
        A seed for `torch.Generator.manual_seed`.
    """
    return int(content_digest(list(parts))[:16], 16) >> 1


def without(value: Any, names: frozenset[str]) -> Any:
    """Return a copy of a JSON value in which no mapping, at any depth, has a key in `names`.

    Args:
        value: a JSON value.
        names: the keys to leave out.

    Returns:
        The reduced copy.
    """
    if isinstance(value, Mapping):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    if isinstance(value, list | tuple):
        return [without(item, names) for item in value]
    return value
