"""How much does each server answer in time, at 1, 2 and 5 times what it can? Ours, LitServe, MLServer, BentoML.

    python -m benchmarks.serving --folder /tmp/serving [--seconds 20] [--repeats 3]

ResNet-20 x 8 members (recipe `balanced`), requests of 8 rows 3x32x32 FP32, one torch thread, the server on core 0 and
the load on core 1, executions of at most 32 rows. Peers serve the same artifact twice: `naive` runs its 8 members as
full networks one after another, `shared` runs our `SymmetryEnsemble`, which leaves the difference between the servers.

First every answer is compared with the computation in this process. Then the capacity of a server is measured in a
closed loop, and requests leave in an open loop, a Poisson schedule that no answer holds up, at multiples of that
server's own capacity, after a warm-up at that load. Latency counts from the scheduled time. An answer after the
deadline is no goodput; servers that take a limit are given 0.9 of it. All servers take turns, the whole is repeated:
medians and ranges.
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.record import write
from benchmarks.serving import network
from benchmarks.serving.client import Client
from benchmarks.serving.environments import versions_of
from benchmarks.serving.load import offer, saturate
from benchmarks.serving.outcomes import ANSWERED, summarise
from benchmarks.serving.process import running
from benchmarks.serving.schedule import poisson
from benchmarks.serving.systems import SYSTEMS, Rows, System, Terms

LOAD_CORE = 1
LEVELS = (1.0, 2.0, 5.0)  # times the server's own capacity
BATCHES = 16  # different requests
SETTLE_SECONDS = 90.0
HEADINGS = ("server", "capacity", "load", "in time", "p50", "p99", "refused", "late, expired, lost", "5x / peak")

Record = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = _options()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {LOAD_CORE})
    terms = Terms(
        options.folder, network.stored(options.folder), options.port, options.rows, options.batch_rows,
        options.deadline, options.delay,
    )  # fmt: skip
    batches = network.questions(BATCHES, options.rows)
    expected = [tensor.numpy() for tensor in network.answers(terms.artifact, batches)]
    questions = [batch.numpy() for batch in batches]
    systems = [system for system in SYSTEMS if any(system.name.startswith(name) for name in options.only)]
    environments = options.environments or options.folder / "environments"
    versions = {system.package: _versions(system, environments) for system in systems}
    gc.collect()
    gc.freeze()
    records: list[Record] = []
    for repeat in range(options.repeats):
        for system in systems:
            load = os.getloadavg()[0]
            found = asyncio.run(_measure(system, terms, environments, questions, expected, repeat, options))
            records.append({"system": system.name, "repeat": repeat, "load_before": load, **found})
            Console().print(_line(records[-1]), soft_wrap=True)
    medians = [_median(system.name, [r for r in records if r["system"] == system.name]) for system in systems]
    Console(width=170).print(_table(medians, options))
    shown = {name: value for name, value in vars(options).items() if name not in ("folder", "environments")}
    result = {"versions": versions, "medians": medians, "runs": records, "platform": platform.platform()}
    if not options.dry:
        print(f"written: {write('serving', __doc__ or '', result, settings=shown)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="scratch: ensemble, logs, servers' own folders")
    parser.add_argument("--environments", type=Path, help="of the peers; made where missing; else FOLDER/environments")
    parser.add_argument("--seconds", type=float, default=20.0, help="of every open loop")
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds of every open loop before those")
    parser.add_argument("--capacity-seconds", type=float, default=8.0, help="of the closed loop, and of its warm-up")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8, help="of a request")
    parser.add_argument("--batch-rows", type=int, default=32, help="of the largest execution of every server")
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds after which an answer is of no use")
    parser.add_argument("--delay", type=float, default=0.005, help="seconds LitServe's and MLServer's batches may wait")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds waited for answers after each open loop")
    parser.add_argument("--port", type=int, default=18950, help="this and the two behind it")
    parser.add_argument("--only", nargs="+", default=[""], help="systems whose names begin so")
    parser.add_argument("--dry", action="store_true", help="write no result")
    return parser.parse_args()


async def _measure(
    system: System,
    terms: Terms,
    environments: Path,
    questions: Sequence[Rows],
    expected: Sequence[Rows],
    repeat: int,
    options: argparse.Namespace,
) -> Record:
    """Return capacity and the summaries of every level, of one server in one repeat."""
    requests = [system.request(rows, terms) for rows in questions]
    concurrency = 2 * terms.batch_rows // terms.rows
    async with running(system, terms, environments) as client:
        difference = await _check(system, client, requests, expected)
        each = await saturate(client, requests, concurrency=concurrency, seconds=options.capacity_seconds)
        await _settle(client, requests[0])
        levels = {}
        for number, level in enumerate(LEVELS):
            schedule = poisson(level * each, options.warm_up + options.seconds, seed=100 * repeat + number)
            outcomes = await offer(client, requests, schedule, patience=options.patience)
            found = summarise(
                outcomes, rows=terms.rows, warm_up=options.warm_up, seconds=options.seconds, deadline=terms.deadline
            )
            levels[f"{level:g}"] = {**found.to_dict(), "settled": await _settle(client, requests[0])}
    capacity = each * terms.rows
    peak = max([capacity, *(found["goodput"] for found in levels.values())])
    return {
        "capacity": capacity,
        "levels": levels,
        "kept_at_5": levels[f"{LEVELS[-1]:g}"]["goodput"] / peak,
        "largest_difference": difference,
    }


async def _check(system: System, client: Client, requests: Sequence[bytes], expected: Sequence[Rows]) -> float:
    """Return the largest difference between a server's probabilities and ours: a fast wrong answer is no answer."""
    largest = 0.0
    for request, values in zip(requests, expected, strict=True):
        answer = await client.ask(request)
        if answer.status != ANSWERED:
            raise RuntimeError(f"{system.name}: expected 200, got {answer.status}: {answer.body[:300]!r}")
        found = system.read(answer)
        if not np.allclose(found, values, rtol=1e-3, atol=1e-5):
            raise RuntimeError(f"{system.name}: expected {values.tolist()}, got {found.tolist()}")
        largest = max(largest, float(np.abs(found - values).max()))
    return largest


async def _settle(client: Client, request: bytes) -> float:
    """Return the seconds until a request is answered quickly again: nothing of the load before is left."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await client.close()  # whoever still waits, leaves
    while loop.time() - begin < SETTLE_SECONDS:
        asked = loop.time()
        try:
            answer = await asyncio.wait_for(client.ask(request), SETTLE_SECONDS)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.5)
            continue
        if answer.status == ANSWERED and loop.time() - asked < 0.5:
            return loop.time() - begin
    return SETTLE_SECONDS


def _versions(system: System, environments: Path) -> dict[str, str]:
    return versions_of(system.python(environments), (system.package, "torch", "uvicorn"))


def _median(name: str, records: Sequence[Record]) -> Record:
    """Return `[median, least, largest]` of every figure over the repeats."""
    levels = {
        level: {key: _spread([record["levels"][level][key] for record in records]) for key in found}
        for level, found in records[0]["levels"].items()
    }
    totals = {key: _spread([record[key] for record in records]) for key in ("capacity", "kept_at_5")}
    return {"system": name, **totals, "levels": levels}


def _spread(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return [statistics.median(known), min(known), max(known)] if known else None


def _line(record: Record) -> str:
    cells = [f"{record['system']}: capacity {record['capacity']:.0f} rows/s"]
    for level, found in record["levels"].items():
        p99 = "-" if found["p99"] is None else f"{1000 * found['p99']:.0f}"
        cells.append(f"{level}x {found['goodput']:.0f}, p99 {p99} ms, refused {found['refused']}/{found['sent']}")
    return "; ".join([*cells, f"load {record['load_before']:.1f}"])


def _table(medians: Sequence[Record], options: argparse.Namespace) -> Table:
    title = (
        f"rows/s in time and latency (ms), open loop; requests of {options.rows} rows, executions of at most "
        f"{options.batch_rows}; deadline {options.deadline:g} s; {options.repeats} x {options.seconds:g} s, medians"
    )
    table = Table(title=title)
    for heading in (
        "server",
        "capacity",
        "load",
        "in time",
        "p50",
        "p99",
        "refused",
        "late, expired, lost",
        "5x / peak",
    ):
        table.add_column(heading)
    for row in medians:
        for index, (level, found) in enumerate(row["levels"].items()):
            sent = found["sent"][0]
            lost = sum(found[key][0] for key in ("late", "expired", "unanswered", "errors"))
            table.add_row(
                row["system"] if not index else "",
                _range(row["capacity"], 1) if not index else "",
                f"{level}x",
                _range(found["goodput"], 1),
                _range(found["p50"], 1000),
                _range(found["p99"], 1000),
                f"{found['refused'][0] / sent:.0%}",
                f"{lost / sent:.0%}",
                f"{row['kept_at_5'][0]:.0%}" if not index else "",
            )
    return table


def _range(spread: Sequence[float] | None, scale: float) -> str:
    if spread is None:
        return "-"
    median, least, largest = (scale * value for value in spread)
    return f"{median:.0f} ({least:.0f} to {largest:.0f})"


if __name__ == "__main__":
    main()
