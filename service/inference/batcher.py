"""Gathers waiting requests into executions: at once when the device is idle, else up to `max_rows` on completion.

Bounded in rows and bytes; a request is answered whole or not at all; a failing batch is halved until only the guilty
request fails; what was abandoned is dropped before it is run.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceeded, Overloaded

Results = Mapping[str, NDArray[Any]]
Execute = Callable[[Hashable, NDArray[np.float32]], Awaitable[Results]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one queue."""

    max_rows: int  # rows of one execution
    queue_rows: int
    queue_bytes: int
    timeout: float  # seconds a request may wait


@dataclass(slots=True, eq=False)
class _Waiting:
    key: Hashable
    rows: NDArray[np.float32]
    answer: asyncio.Future[Results]


class Batcher:
    """One queue and one dispatcher; started with `start`, stopped with `stop`.

    Args:
        execute: runs rows of one key on the device; the only thing that is awaited between two dispatches.
        bounds: limits of the queue.
    """

    def __init__(self, execute: Execute, bounds: Bounds) -> None:
        self._execute = execute
        self._bounds = bounds
        self._queue: deque[_Waiting] = deque()
        self._arrival = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._seconds_per_row = 0.0
        self.queued_rows = 0
        self.queued_bytes = 0

    def start(self) -> None:
        """Start the dispatcher on the running loop."""
        self._task = asyncio.create_task(self._dispatch())

    async def stop(self) -> None:
        """Stop the dispatcher; what still waits is refused."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while self._queue:
            _fail(self._queue.popleft(), Overloaded("the model is being unloaded; try again"))

    async def infer(self, key: Hashable, rows: NDArray[np.float32]) -> Results:
        """Return the outputs for `rows`, one row of each output per row of input.

        Args:
            key: requests of different keys never share an execution.
            rows: float32 `[rows C H W]`.

        Raises:
            Overloaded: the queue is full.
            DeadlineExceeded: the request waited too long.
        """
        self._admit(rows)
        waiting = _Waiting(key, rows, asyncio.get_running_loop().create_future())
        self.queued_rows += len(rows)
        self.queued_bytes += rows.nbytes
        try:
            self._queue.append(waiting)
            self._arrival.set()
            async with asyncio.timeout(self._bounds.timeout):
                return await waiting.answer
        except TimeoutError:
            raise DeadlineExceeded(
                f"expected an answer within {self._bounds.timeout:g} s, the queue was longer"
            ) from None
        finally:
            self.queued_rows -= len(rows)
            self.queued_bytes -= rows.nbytes

    def _admit(self, rows: NDArray[np.float32]) -> None:
        for name, used, limit in (
            ("rows", self.queued_rows + len(rows), self._bounds.queue_rows),
            ("bytes", self.queued_bytes + rows.nbytes, self._bounds.queue_bytes),
        ):
            if used > limit and self._queue:
                wait = self.queued_rows * self._seconds_per_row
                raise Overloaded(
                    f"queue: expected at most {limit} {name} to wait, got {used}; predicted wait {wait:.2f} s",
                    retry_after=max(1, math.ceil(wait)),
                )

    async def _dispatch(self) -> None:
        while True:
            await self._arrival.wait()
            batch = self._take()
            if not batch:
                self._arrival.clear()
                continue
            began = time.monotonic()
            await self._run(batch)
            self._learn(sum(len(waiting.rows) for waiting in batch), time.monotonic() - began)

    def _take(self) -> list[_Waiting]:
        """Return the oldest request and what shares its key, up to `max_rows`; a larger request comes alone."""
        while self._queue and self._queue[0].answer.done():
            self._queue.popleft()
        if not self._queue:
            return []
        batch, total = [self._queue.popleft()], 0
        total = len(batch[0].rows)
        for waiting in list(self._queue):
            if waiting.answer.done():
                self._queue.remove(waiting)
            elif waiting.key == batch[0].key and total + len(waiting.rows) <= self._bounds.max_rows:
                self._queue.remove(waiting)
                batch.append(waiting)
                total += len(waiting.rows)
        return batch

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._execute_in_pieces(batch[0].key, np.concatenate([waiting.rows for waiting in batch]))
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            half = len(batch) // 2
            await self._run(batch[:half])
            await self._run(batch[half:])
            return
        start = 0
        for waiting in batch:
            end = start + len(waiting.rows)
            if not waiting.answer.done():
                waiting.answer.set_result({name: values[start:end] for name, values in results.items()})
            start = end

    async def _execute_in_pieces(self, key: Hashable, rows: NDArray[np.float32]) -> Results:
        size = self._bounds.max_rows
        pieces = [await self._execute(key, rows[start : start + size]) for start in range(0, len(rows), size)]
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _learn(self, rows: int, seconds: float) -> None:
        sample = seconds / max(rows, 1)
        self._seconds_per_row = sample if self._seconds_per_row == 0 else 0.8 * self._seconds_per_row + 0.2 * sample


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
