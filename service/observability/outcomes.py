"""What became of an inference request: exactly one outcome each, so that the counters add up to what was sent."""

import asyncio
import time
from types import TracebackType
from typing import Self

from service.errors import DeadlineExceeded, Overloaded, ServiceError, to_http
from service.observability.instruments import UNKNOWN, Instruments


class ClientGone(ServiceError):
    """The client left before its answer."""


class InferenceCount:
    """Counts one request when the block ends.

    Args:
        instruments: metrics of the application.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._labels = (UNKNOWN, "ensemble")
        self._began = time.perf_counter()

    def addressed(self, model: str, view: str) -> None:
        """Note which known ensemble and which kind of view it addresses."""
        self._labels = (model, view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = outcome_of(error)
        self._instruments.requests.add(*self._labels, outcome)
        self._instruments.request_seconds.observe(self._labels[0], value=time.perf_counter() - self._began)
        if isinstance(error, Overloaded):
            self._instruments.rejected.add(error.reason)


def outcome_of(error: BaseException | None) -> str:
    """Return the one word for how a request ended."""
    if error is None:
        return "ok"
    for kinds, outcome in _OUTCOMES:
        if isinstance(error, kinds):
            return outcome
    return "invalid" if isinstance(error, Exception) and to_http(error).status < 500 else "error"


_OUTCOMES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((ClientGone, asyncio.CancelledError), "cancelled"),
    (Overloaded, "rejected"),
    (DeadlineExceeded, "timeout"),
)
