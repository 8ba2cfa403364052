"""Who is let in: bounds on rows, bytes and predicted time, and a refusal that says when to come back."""

import asyncio
import math
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from service.errors import NotReady, Overloaded
from service.inference.costs import CostModel, retry_after
from service.inference.waiting import Line

CAUTION: Final = 4.0  # mean errors of a prediction that are kept free in front of a deadline
STANDING: Final = 0.5  # share of its time that a request may spend in a queue that stands


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one queue."""

    max_rows: int  # rows of one execution
    queue_rows: int
    queue_bytes: int
    timeout: float  # seconds a request may take at most
    delay: float = 0.0  # seconds an idle device may wait for company


@dataclass(frozen=True, slots=True)
class _Running:
    kind: Hashable
    predicted: float
    began: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a new request has to expect, in seconds from now.

    Attributes:
        wait: until it begins, if nobody else comes: the rest of the running execution, and the queue.
        answer: until it is answered, if others keep coming.
        doubt: how far off that may be, by the errors of earlier predictions.
        executions: that this takes, behind the running one.
        busy: seconds since the device was last idle.
    """

    wait: float
    answer: float
    doubt: float
    executions: int
    busy: float

    def allowed(self, timeout: float) -> float:
        """Return the seconds until the answer that a request may be admitted with.

        A burst may use all of its time. Behind a device that was not idle for as long, the queue stands: its length
        adds to every wait and to no rate. It is kept short then, but never too short to fill the next execution.
        """
        return timeout if self.executions <= 1 or self.busy <= timeout else STANDING * timeout


@dataclass(frozen=True, slots=True)
class Ask:
    """How a request wants to be run.

    Attributes:
        key: requests of different keys never share an execution.
        kind: class of cost.
        priority: 0 to 3, 0 first.
        timeout: seconds it may take; None for the longest that is allowed.
    """

    key: Hashable
    kind: Hashable = None
    priority: int = 1
    timeout: float | None = None


class Refused(Overloaded):
    """A bound of a queue is reached.

    Args:
        reason: "rows", "bytes" or "predicted_wait".
        message: the bound and the prediction.
        retry_after: seconds after which a new attempt is expected to be admitted.
    """

    def __init__(self, reason: str, message: str, *, retry_after: int) -> None:
        self.reason = reason
        super().__init__(message, retry_after=retry_after)


class Admission:
    """What one queue holds and how long that takes.

    Args:
        bounds: limits of the queue.
        costs: what executions cost, as the warm-up measured; learned from nothing unless given.
    """

    def __init__(self, bounds: Bounds, costs: CostModel | None = None) -> None:
        self.costs = costs or CostModel()
        self.rows = 0
        self.bytes = 0
        self._bounds = bounds
        self._closed = False
        self._running: _Running | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._wait = 0.0
        self._idle_at: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return self.rows == 0

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    async def emptied(self) -> None:
        """Return once nothing waits or runs."""
        await self._empty.wait()

    def reserve(self, count: int) -> "Reservation":
        """Return a reservation of `count` bytes, to be used as a context manager; nothing of a body is read before it.

        Raises:
            Overloaded: that many bytes, or a single row, do not fit beside what waits.
            NotReady: the queue is closed.
        """
        self._check_open()
        self._check_rows(1, self._wait)
        return Reservation(self, count)

    def predict(self, line: Line, ask: Ask, rows: int, *, now: float, max_rows: int) -> Forecast:
        """Return when a new request would begin to run, and when it would be answered.

        Args:
            line: what waits.
            ask: how the request wants to be run.
            rows: it brings.
            now: by the loop's clock.
            max_rows: rows of one execution.
        """
        running = self._running
        rest = 0.0 if running is None else max(0.0, running.predicted - (now - running.began))
        ahead = line.ahead(ask.priority)
        wait = rest + sum(self.costs.predict(kind, count, max_rows=max_rows) for kind, count in ahead.items())
        # Whoever comes later fills the executions up, its own included, so each of them counts as a full one.
        answer, variance = rest, 0.0 if running is None else running.predicted**2
        total = 0
        for kind, count in {**ahead, ask.kind: ahead.get(ask.kind, 0) + rows}.items():
            executions = math.ceil(count / max_rows)
            seconds = self.costs.predict(kind, max_rows, max_rows=max_rows)
            total += executions
            answer += executions * seconds
            variance += executions * seconds**2
        if self.idle or self._idle_at is None:
            self._idle_at = now
        self._wait = wait
        return Forecast(wait, answer, self.costs.spread * math.sqrt(variance), total, now - self._idle_at)

    def check(self, rows: int, forecast: Forecast, *, timeout: float) -> None:
        """Return when a request may wait.

        Args:
            rows: it brings.
            forecast: for it.
            timeout: seconds it may take.

        Raises:
            Overloaded: the rows do not fit, or it would be answered too late.
            NotReady: the queue is closed.
        """
        self._check_open()
        if self.idle:
            return  # nothing is in its way: it runs, and what it costs is learned
        self._check_rows(rows, forecast.wait)
        allowed = forecast.allowed(timeout)
        if forecast.answer + CAUTION * forecast.doubt > allowed:
            raise Refused(
                "predicted_wait",
                f"queue: expected an answer within {allowed:g} s, got a predicted wait of {forecast.wait:.2f} s before "
                "it begins; send it later",
                retry_after=retry_after(forecast.wait),
            )

    def _check_open(self) -> None:
        if self._closed:
            raise NotReady("the model is being unloaded; try again later")

    def _check_rows(self, rows: int, wait: float) -> None:
        total = self.rows + rows
        if self.rows and total > self._bounds.queue_rows:
            raise Refused(
                "rows",
                f"queue: expected at most {self._bounds.queue_rows} rows to wait, got {total}; predicted wait "
                f"{wait:.2f} s",
                retry_after=retry_after(wait),
            )

    @contextmanager
    def waits(self, rows: int) -> Iterator[None]:
        """Count rows for the length of the block."""
        self.rows += rows
        self._empty.clear()
        try:
            yield
        finally:
            self.rows -= rows
            if not self.rows:
                self._empty.set()

    @contextmanager
    def runs(self, kind: Hashable, rows: int, began: float, *, max_rows: int) -> Iterator[None]:
        """Count an execution as running for the length of the block."""
        self._running = _Running(kind, self.costs.predict(kind, rows, max_rows=max_rows), began)
        try:
            yield
        finally:
            self._running = None

    def change(self, held: int, wanted: int) -> None:
        """Hold `wanted` bytes for a request instead of `held`.

        Raises:
            Overloaded: more bytes do not fit beside what waits; a request alone always fits.
        """
        others = self.bytes - held
        total = others + wanted
        if wanted > held and others and total > self._bounds.queue_bytes:
            raise Refused(
                "bytes",
                f"queue: expected at most {self._bounds.queue_bytes} bytes to wait, got {total}; predicted wait "
                f"{self._wait:.2f} s",
                retry_after=retry_after(self._wait),
            )
        self.bytes = total


class Reservation:
    """Bytes set aside for one request, from the first byte of its body to its answer."""

    def __init__(self, admission: Admission, count: int) -> None:
        self._admission = admission
        self._held = 0
        self.resize(count)

    def resize(self, count: int) -> None:
        """Hold `count` bytes instead.

        Raises:
            Overloaded: that many do not fit.
        """
        self._admission.change(self._held, count)
        self._held = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.change(self._held, 0)
        self._held = 0
