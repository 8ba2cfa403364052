"""Canonical JSON: equal values have equal bytes, so that their digests can be compared."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> bytes:
    """Return `value` as JSON bytes with sorted keys and no spaces.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
