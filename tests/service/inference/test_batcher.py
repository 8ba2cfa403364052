"""The batcher: answers go to their own request, neighbours survive a poisoned one, the queue empties.

Seen to fail: slices shifted by one row; a failing batch answered as a whole; rows not returned after a timeout; the
key left out of the grouping.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import DeadlineExceeded, Overloaded
from service.inference.admission import Ask, Bounds
from service.inference.batcher import Batcher
from service.inference.executions import PHASES, Executed

POISON = 0.75
BOUNDS = Bounds(max_rows=4, queue_rows=100, queue_bytes=10**6, timeout=5.0)


def rows_of(*values: float) -> Any:
    """Return one row per value."""
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)


class Device:
    """A device that doubles its input, records its executions, and fails on a poisoned row."""

    def __init__(self) -> None:
        self.executions: list[tuple[Any, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: Any, rows: Any) -> Executed:
        """Return twice the rows, plus the length of the key."""
        await self.gate.wait()
        self.executions.append((key, len(rows)))
        await asyncio.sleep(0)
        if (rows == POISON).any():
            raise ValueError("poisoned")
        return Executed({"double": rows.reshape(-1) * 2 + len(key)}, dict.fromkeys(PHASES, 1e-6))


def play(scene: Callable[[Batcher, Device], Awaitable[None]], bounds: Bounds = BOUNDS) -> None:
    """Run a scene with a started batcher and check that its queue is empty afterwards."""

    async def run() -> None:
        device = Device()
        batcher = Batcher(device, bounds)
        batcher.start()
        try:
            await scene(batcher, device)
        finally:
            await batcher.stop()
        assert (batcher.admission.rows, batcher.admission.bytes) == (0, 0)

    asyncio.run(run())


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "bb"]), st.lists(st.sampled_from([0.0, 0.25, 0.5, POISON]), min_size=1, max_size=6)
    ),
    min_size=1,
    max_size=12,
)


@given(requests=REQUESTS)
@settings(deadline=None, max_examples=60)
def test_every_answer_goes_to_its_own_request(requests: list[tuple[str, list[float]]]) -> None:
    """Any mix of sizes, keys and poisoned rows answers what unbatched execution answers; only the guilty fail."""

    async def scene(batcher: Batcher, device: Device) -> None:
        answers = await asyncio.gather(
            *(batcher.infer(Ask(key), rows_of(*values)) for key, values in requests), return_exceptions=True
        )
        for (key, values), answer in zip(requests, answers, strict=True):
            if POISON in values:
                assert isinstance(answer, ValueError)
            else:
                assert not isinstance(answer, BaseException)
                np.testing.assert_allclose(answer.results["double"], np.array(values) * 2 + len(key))
        assert all(count <= BOUNDS.max_rows for _, count in device.executions)

    play(scene)


def test_a_busy_device_gathers_and_an_idle_one_does_not() -> None:
    """The first request goes at once; what waits meanwhile shares executions, by key, up to `max_rows`."""

    async def scene(batcher: Batcher, device: Device) -> None:
        device.gate.clear()
        first = asyncio.create_task(batcher.infer(Ask("a"), rows_of(0.0)))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(batcher.infer(Ask(key), rows_of(0.25))) for key in ("a", "a", "bb", "a", "a", "a")]
        await asyncio.sleep(0.01)
        device.gate.set()
        await asyncio.gather(first, *rest)
        assert device.executions == [("a", 1), ("a", 4), ("bb", 1), ("a", 1)]

    play(scene)


def test_a_full_queue_refuses_with_a_time() -> None:
    """Rows beyond the bound are refused at once, and the refusal says when to come back."""

    async def scene(batcher: Batcher, device: Device) -> None:
        device.gate.clear()
        running = asyncio.create_task(batcher.infer(Ask("a"), rows_of(0.0)))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(batcher.infer(Ask("a"), rows_of(0.0, 0.0)))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="at most 3 rows") as caught:
            await batcher.infer(Ask("a"), rows_of(0.25))
        assert caught.value.retry_after >= 1
        device.gate.set()
        await asyncio.gather(running, waiting)

    play(scene, Bounds(max_rows=4, queue_rows=3, queue_bytes=10**6, timeout=5.0))


def test_a_late_request_is_dropped_and_its_neighbour_served() -> None:
    """A request past its deadline gets DeadlineExceeded and is never executed."""

    async def scene(batcher: Batcher, device: Device) -> None:
        device.gate.clear()
        running = asyncio.create_task(batcher.infer(Ask("a"), rows_of(0.0)))
        await asyncio.sleep(0.01)
        late = [running, *(asyncio.create_task(batcher.infer(Ask("a"), rows_of(0.0))) for _ in range(2))]
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DeadlineExceeded] * 3
        device.gate.set()
        answer = await batcher.infer(Ask("a"), rows_of(0.25))
        np.testing.assert_allclose(answer.results["double"], [1.5])
        assert device.executions == [("a", 1), ("a", 1)]  # the one that ran when its time was up, and the new one

    play(scene, Bounds(max_rows=4, queue_rows=100, queue_bytes=10**6, timeout=0.05))
