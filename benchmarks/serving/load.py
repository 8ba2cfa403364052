"""The two loads: a closed loop that finds what a server can do, and an open loop that does not wait for it."""

import asyncio
from collections.abc import Sequence

from benchmarks.serving.client import Client
from benchmarks.serving.outcomes import ANSWERED, BROKEN, UNANSWERED, Outcome


async def saturate(client: Client, requests: Sequence[bytes], *, concurrency: int, seconds: float) -> float:
    """Return the requests answered per second while `concurrency` clients ask one after another.

    Args:
        client: of the server.
        requests: sent in turn.
        concurrency: requests on their way at any time.
        seconds: measured, after a warm-up as long.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time() + seconds
    end = begin + seconds
    finished: list[float] = []

    async def one(number: int) -> None:
        while loop.time() < end:
            answer = await client.ask(requests[number % len(requests)])
            if answer.status == ANSWERED:
                finished.append(loop.time())
            else:
                await asyncio.sleep(0.05)
            number += concurrency

    await asyncio.gather(*(one(number) for number in range(concurrency)))
    counted = [time for time in finished if begin <= time < end]
    # Answers come in batches: from one answer to the last is the length they stand for, whatever the window's edges.
    return (len(counted) - 1) / (counted[-1] - counted[0]) if len(counted) > 1 else 0.0


async def offer(
    client: Client, requests: Sequence[bytes], schedule: Sequence[float], *, patience: float
) -> list[Outcome]:
    """Return what became of requests that left on a schedule, whatever the server did; times from the schedule's begin.

    Args:
        client: of the server.
        requests: sent in turn.
        schedule: seconds from the begin at which each is due.
        patience: seconds after the last one for which answers are waited for.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.1
    outcomes: list[Outcome] = []

    async def one(request: bytes, due: float) -> None:
        sent = loop.time()
        status = UNANSWERED
        try:
            status = (await client.ask(request)).status
        except ConnectionError:
            status = BROKEN
        finally:
            outcomes.append(Outcome(due - begin, sent - begin, loop.time() - begin, status))

    tasks = []
    for number, time in enumerate(schedule):
        due = begin + time
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        tasks.append(asyncio.create_task(one(requests[number % len(requests)], due)))
    if tasks:
        _, waiting = await asyncio.wait(tasks, timeout=patience)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return outcomes
