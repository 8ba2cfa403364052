"""Token buckets: how many requests a second each key may make, and each address that offers wrong ones."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REMEMBERED: Final = 4096  # buckets; the one that rested longest is forgotten first


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen: float


class Buckets:
    """One bucket a name: it fills at a rate, holds a burst, and each request takes one token.

    Args:
        rate: tokens a second.
        burst: tokens a full bucket holds, as seconds' worth of the rate, at least one token.
        clock: seconds that only grow.
    """

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, *, rate: float | None = None) -> float:
        """Return 0 after taking a token; where there is none, the seconds until there is one.

        Args:
            name: of the bucket.
            rate: its own tokens a second; None for the common rate.
        """
        speed = self._rate if rate is None else rate
        full = max(1.0, speed * self._burst)
        moment = self._clock()
        bucket = self._buckets.pop(name, None) or _Bucket(full, moment)
        self._buckets[name] = bucket
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(full, bucket.tokens + (moment - bucket.seen) * speed)
        bucket.seen = moment
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / speed


def whole_seconds(wait: float) -> int:
    """Return a wait as `Retry-After` has it: whole seconds, at least one."""
    return max(1, math.ceil(wait))
