"""The load generator of `benchmarks/serving`: its schedule, its figures, and that no answer holds it up.

Seen to fail: latency counted from the sending; the next request sent after the answer to the last; a late answer
counted as goodput; answers after the window counted; refusals among the latencies; the percentile one rank low; one
seed for every schedule.
"""

import asyncio
import math
from itertools import pairwise

import pytest

from benchmarks.serving.client import Client, post
from benchmarks.serving.load import offer, saturate
from benchmarks.serving.outcomes import ANSWERED, BROKEN, EXPIRED, UNANSWERED, Outcome, percentile, summarise
from benchmarks.serving.schedule import poisson

REQUEST = post("/", b"rows", {})


def test_the_schedule_is_seeded_and_has_its_rate() -> None:
    """The same seed gives the same times, exactly as many as the rate says, with the gaps of a Poisson process."""
    times = poisson(50, 100, seed=1)
    assert times == poisson(50, 100, seed=1) != poisson(50, 100, seed=2)
    assert len(times) == 5000
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 100
    gaps = [after - before for before, after in pairwise(times)]
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.03)


def test_the_percentile_is_the_smallest_value_that_covers_its_share() -> None:
    """Nearest rank: of 1 to 100 the 99th percentile is 99, and of a single value it is that value."""
    assert percentile(list(range(100, 0, -1)), 0.99) == 99
    assert percentile(list(range(1, 101)), 0.5) == 50
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None


def test_every_request_is_counted_once_and_only_answers_in_time_are_goodput() -> None:
    """A late answer counts for the latency alone; a refusal for neither."""
    ends = [(0.2, ANSWERED), (0.4, ANSWERED), (1.5, ANSWERED), (0.01, 429), (0.01, 503), (0.9, EXPIRED)]
    ends += [(9.0, UNANSWERED), (0.0, BROKEN), (0.0, 500)]
    outcomes = [Outcome(1.0, 1.1, 1.0 + latency, status) for latency, status in ends]
    found = summarise(outcomes, rows=8, warm_up=0.5, seconds=2.0, deadline=1.0)
    assert (found.sent, found.in_time, found.late, found.refused) == (9, 2, 1, 2)
    assert (found.expired, found.unanswered, found.errors) == (1, 1, 2)
    assert (found.offered, found.goodput) == (36.0, 8.0)
    assert [found.p50, found.p99] == pytest.approx([0.4, 1.5])
    assert found.lag == pytest.approx(0.1)


def test_a_window_leaves_out_its_warm_up_and_what_is_answered_after_it() -> None:
    """Requests count by when they were due, goodput by when the answer was there."""
    times = [(0.8, 0.9), (0.8, 1.2), (1.5, 1.6), (2.9, 3.1), (3.2, 3.3)]
    outcomes = [Outcome(due, due, done, ANSWERED) for due, done in times]
    found = summarise(outcomes, rows=1, warm_up=1.0, seconds=2.0, deadline=1.0)
    assert (found.sent, found.in_time, found.goodput) == (2, 2, 1.0)


def test_a_stalled_server_holds_no_request_back() -> None:
    """Requests that were due during a stall left in time, and their latency holds what was left of it."""
    schedule = [0.02 * step for step in range(20)]
    stall = 0.5

    async def scene() -> list[Outcome]:
        async with _Stalling(stall) as client:
            return await offer(client, [REQUEST], schedule, patience=5)

    outcomes = sorted(asyncio.run(scene()), key=lambda outcome: outcome.scheduled)
    assert [outcome.status for outcome in outcomes] == [ANSWERED] * len(schedule)
    begin = outcomes[0].scheduled
    assert outcomes[-1].sent - begin < stall  # all of them left while the first one still waited
    for outcome in outcomes:
        assert outcome.latency >= stall - (outcome.scheduled - begin) - 0.1


def test_nobody_waits_longer_than_the_patience() -> None:
    """A request without an answer is unanswered, not forgotten."""

    async def scene() -> list[Outcome]:
        async with _Stalling(60) as client:
            return await offer(client, [REQUEST], [0.0, 0.01], patience=0.2)

    assert [outcome.status for outcome in asyncio.run(scene())] == [UNANSWERED] * 2


def test_a_closed_loop_finds_the_rate_of_a_server() -> None:
    """A server that takes 20 ms for one request after another answers about 50 a second."""

    async def scene() -> float:
        async with _Stalling(0.0, each=0.02) as client:
            return await saturate(client, [REQUEST], concurrency=3, seconds=0.5)

    assert 25 < asyncio.run(scene()) <= 51


class _Stalling:
    """A server that answers one request after another, the first one after a stall."""

    def __init__(self, stall: float, *, each: float = 0.0) -> None:
        self._stall, self._each = stall, each
        self._turn = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Client:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._client = Client(self._server.sockets[0].getsockname()[1])
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await reader.read(len(REQUEST)) == REQUEST:
                async with self._turn:
                    stall, self._stall = self._stall, 0.0
                    await asyncio.sleep(stall + self._each)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.CancelledError, ConnectionError):
            pass  # the scene is over
        finally:
            writer.transport.abort()
