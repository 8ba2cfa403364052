"""Opaque cursors: a position in a list, signed together with the filter it belongs to."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from service.errors import MalformedRequest

_SEAL = 16


def encode(secret: bytes, position: tuple[int, str], filters: Mapping[str, Any]) -> str:
    """Return the cursor that continues after `position` (created_at, id) under the same `filters`."""
    body = json.dumps(list(position)).encode()
    return base64.urlsafe_b64encode(_seal(secret, body, filters) + body).decode().rstrip("=")


def decode(secret: bytes, cursor: str, filters: Mapping[str, Any]) -> tuple[int, str]:
    """Return the position in `cursor`.

    Raises:
        MalformedRequest: it was not made here, or for other filters.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        body = raw[_SEAL:]
        if not hmac.compare_digest(raw[:_SEAL], _seal(secret, body, filters)):
            raise ValueError("signature")
        moment, identity = json.loads(body)
    except (ValueError, TypeError):
        raise MalformedRequest("cursor: expected a next_cursor of the same list and filters, got another") from None
    return int(moment), str(identity)


def _seal(secret: bytes, body: bytes, filters: Mapping[str, Any]) -> bytes:
    text = json.dumps(filters, sort_keys=True).encode()
    return hmac.new(secret, body + b"\n" + text, hashlib.sha256).digest()[:_SEAL]
