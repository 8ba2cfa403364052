"""Gathers waiting requests into executions: at once when the device is idle, else up to `max_rows` on completion.

Bounded in rows, bytes and predicted time; a request is answered whole or not at all; a failing batch is halved until
only the guilty request fails; what was abandoned is dropped before it is run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress

import numpy as np

from service.errors import DeadlineExceeded, NotReady
from service.inference.admission import CAUTION, Admission, Ask, Bounds, Reservation
from service.inference.executions import DeviceLost, Executed, OutOfDeviceMemory
from service.inference.observing import Observer
from service.inference.tensors import Rows
from service.inference.waiting import Answered, Line, Segment, Waiting

Execute = Callable[[Hashable, Rows], Awaitable[Executed]]


class Batcher:
    """One queue and one dispatcher; started with `start`, stopped with `stop`.

    Args:
        execute: runs rows of one key on the device; the only thing that is awaited between two dispatches. It may raise
            `OutOfDeviceMemory` and `DeviceLost`; anything else is the fault of one request.
        bounds: limits of the queue.
        observer: told of every dispatch and execution.
        admission: predicts and refuses; made from the bounds unless given.
    """

    def __init__(
        self, execute: Execute, bounds: Bounds, *, observer: Observer | None = None, admission: Admission | None = None
    ) -> None:
        self.admission = admission or Admission(bounds)
        self.max_rows = bounds.max_rows
        self._execute = execute
        self._bounds = bounds
        self._observer = observer or Observer()
        self._line = Line()
        self._arrival = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._numbers = 0

    def start(self) -> None:
        """Start the dispatcher on the running loop."""
        self._task = asyncio.create_task(self._dispatch())

    async def stop(self) -> None:
        """Stop the dispatcher; what still waits is refused."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for waiting in list(self._line):
            self._line.remove(waiting)
            waiting.fail(NotReady("the model is being unloaded; try again"))

    async def drain(self, grace: float) -> None:
        """Refuse what comes and wait until what was taken is answered, at most `grace` seconds."""
        self.admission.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.admission.emptied()

    async def infer(self, ask: Ask, rows: Rows, reservation: Reservation | None = None) -> Answered:
        """Return the outputs for `rows`, one row of each output per row of input.

        Args:
            ask: what may run together, how soon, and by when.
            rows: `[rows ...]`.
            reservation: bytes that were set aside for it; it takes them over.

        Raises:
            Overloaded: the queue is full, or its wait is predicted to be longer than the request may take.
            DeadlineExceeded: the request waited too long.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        timeout = min(ask.timeout or self._bounds.timeout, self._bounds.timeout)
        with reservation or self.admission.reserve(0) as held:
            held.resize(rows.nbytes)
            forecast = self.admission.predict(self._line, ask, len(rows), now=now, max_rows=self.max_rows)
            self.admission.check(len(rows), forecast, timeout=timeout)
            self._numbers += 1
            waiting = Waiting(
                ask.key, ask.kind, rows, ask.priority, now, now + timeout, self._numbers, loop.create_future()
            )
            with self.admission.waits(len(rows)):
                return await self._answer(waiting, timeout)

    async def _answer(self, waiting: Waiting, timeout: float) -> Answered:
        self._line.add(waiting)
        self._arrival.set()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(waiting.deadline):
                answer = await waiting.answer
            if loop.time() <= waiting.deadline:
                return answer
        except TimeoutError:
            pass
        finally:
            if not waiting.answer.cancel() and not waiting.answer.cancelled():
                waiting.answer.exception()  # seen: the loop need not warn of it
            self._line.remove(waiting)
        raise DeadlineExceeded(
            f"queue: expected an answer within {timeout:g} s, got none by then; send less at once, or allow more time"
        )

    async def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._line:
                self._arrival.clear()
                await self._arrival.wait()
            held_by = await self._hold()
            if not self._line:
                continue
            segments = self._line.take(self.max_rows, loop.time())
            rows = sum(map(len, segments))
            self._observer.dispatched("full" if rows >= self.max_rows else held_by, rows)
            await self._run(segments)

    async def _hold(self) -> str:
        """Let an idle device wait for company, if that is wanted; returns why it waits no longer."""
        if not self._bounds.delay:
            return "idle"
        loop = asyncio.get_running_loop()
        while self._line:
            now = loop.time()
            head = self._line.head(now)
            rows = self._line.rows_like(head)
            spent = head.arrived + self._bounds.delay
            needed = self.admission.costs.predict(head.kind, min(rows, self.max_rows), max_rows=self.max_rows)
            latest = min(waiting.deadline for waiting in self._line) - needed * (
                1 + CAUTION * self.admission.costs.spread
            )
            if rows >= self.max_rows or now >= min(spent, latest):
                return "delay" if latest > spent else "deadline"
            self._arrival.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(spent, latest)):
                    await self._arrival.wait()
        return "idle"

    async def _run(self, segments: Sequence[Segment]) -> None:
        """Execute, answer, and find out whose fault a failure is."""
        segments = [segment for segment in segments if not segment.waiting.answer.done()]
        if not segments:
            return
        try:
            await self._execute_together(segments)
        except OutOfDeviceMemory:
            self._shrink(segments)
        except DeviceLost:
            _fail(
                segments, NotReady("the device failed and the server restarts; send the request again", retry_after=5)
            )
        except Exception as error:
            if len(segments) == 1:
                _fail(segments, error)
                self._line.remove(segments[0].waiting)
                return
            half = len(segments) // 2
            await self._run(segments[:half])
            await self._run(segments[half:])

    async def _execute_together(self, segments: Sequence[Segment]) -> None:
        loop = asyncio.get_running_loop()
        first = segments[0].waiting
        count = sum(map(len, segments))
        began = loop.time()
        for segment in segments:
            segment.waiting.began = segment.waiting.began or began
        rows = segments[0].rows if len(segments) == 1 else np.concatenate([segment.rows for segment in segments])
        with self.admission.runs(first.kind, count, began, max_rows=self.max_rows):
            executed = await self._execute(first.key, rows)
        self.admission.costs.learn(first.kind, count, loop.time() - began)
        self._observer.executed(first.key, count, executed)
        start = 0
        for segment in segments:
            end = start + len(segment)
            segment.waiting.pieces[segment.start] = {name: v[start:end] for name, v in executed.results.items()}
            segment.waiting.computed += executed.total
            segment.waiting.finish()
            start = end

    def _shrink(self, segments: Sequence[Segment]) -> None:
        """Halve what one execution may hold and let the rows wait again; a single row that does not fit is refused."""
        count = sum(map(len, segments))
        self.max_rows = max(1, min(count, self.max_rows) // 2)
        self._observer.shrunk(self.max_rows)
        if count > 1:
            self._line.give_back(segments)
        else:
            _fail(segments, NotReady("the device has no memory left for one row; send the request again later"))


def _fail(segments: Sequence[Segment], error: Exception) -> None:
    for segment in segments:
        segment.waiting.fail(error)
