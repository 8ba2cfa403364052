"""Time in the store: whole microseconds since the epoch, UTC."""

import time
from datetime import UTC, datetime


def now() -> int:
    """Return the present as microseconds since the epoch."""
    return time.time_ns() // 1000


def rfc3339(moment: int | None) -> str | None:
    """Return `moment` as an RFC 3339 UTC string, None for None."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
