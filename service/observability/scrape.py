"""What is read only when somebody asks: gauges of queues and models, and the counters under Triton's names."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from service.inference.statistics import ViewStatistics
from service.observability.metrics import Counter, Family

if TYPE_CHECKING:
    from service.inference.served import Served
    from service.jobs.tallies import JobNumbers
    from service.routes.rooms import Rooms

_MICROSECONDS: Final = 1e6
# Name, help, and where the number is found.
_ALIASES: Final[tuple[tuple[str, str, Callable[[ViewStatistics], float]], ...]] = (
    ("nv_inference_request_success", "requests answered", lambda view: view.success.count),
    ("nv_inference_request_failure", "requests not answered", lambda view: view.failure.count),
    ("nv_inference_count", "rows answered", lambda view: view.rows),
    ("nv_inference_exec_count", "executions", lambda view: view.executions),
    (
        "nv_inference_request_duration_us",
        "microseconds of answered requests",
        lambda view: view.success.seconds * _MICROSECONDS,
    ),
    ("nv_inference_queue_duration_us", "microseconds waited", lambda view: view.queue.seconds * _MICROSECONDS),
    (
        "nv_inference_compute_infer_duration_us",
        "microseconds computed",
        lambda view: view.phases["compute_infer"].seconds * _MICROSECONDS,
    ),
)


def families(rooms: "Rooms", numbers: "JobNumbers") -> list[Family]:
    """Return every metric, its gauges read now.

    Args:
        rooms: of the application.
        numbers: of jobs; `ledger.numbers()` reads them from the database, which the event loop must not wait for.
    """
    served = rooms.pool.served()
    _read_gauges(rooms, served)
    _read_jobs(rooms, numbers)
    found = list(rooms.instruments.families())
    if rooms.settings.triton_metrics:
        found += _aliases(served)
    return found


def _read_gauges(rooms: "Rooms", served: "list[Served]") -> None:
    shown = rooms.instruments
    for gauge in (shown.queue_rows, shown.queue_bytes, shown.max_rows, shown.members_active):
        gauge.clear()
    rows: dict[str, tuple[int, int]] = {}
    for one in served:  # oldest first: the newest version's limits remain
        name, admission = one.info.name, one.batcher.admission
        before = rows.get(name, (0, 0))
        rows[name] = before[0] + admission.rows, before[1] + admission.bytes
        shown.max_rows.set(name, value=one.batcher.max_rows)
        shown.members_active.set(name, value=one.info.members)
    for name, (waiting, size) in rows.items():
        shown.queue_rows.set(name, value=waiting)
        shown.queue_bytes.set(name, value=size)


def _read_jobs(rooms: "Rooms", numbers: "JobNumbers") -> None:
    shown = rooms.instruments
    shown.jobs.clear()
    for state, count in numbers.states.items():
        shown.jobs.set(state, value=count)
    shown.job_shards.read({(outcome,): count for outcome, count in numbers.shards.items()})
    shown.lease_lost.read({(): numbers.lease_lost})
    shown.attack_seconds.read(
        {(attack,): bounds for attack, bounds in numbers.attacks.items()},
        {(attack,): seconds for attack, seconds in numbers.seconds.items()},
    )
    shown.event_streams.set(value=rooms.streams.open)


def _aliases(served: "list[Served]") -> Iterator[Counter]:
    for name, help_, number in _ALIASES:
        counter = Counter(name, help_, ("model", "version"))
        for one in served:
            for view, statistics in one.statistics.items():
                counter.add(view.name, one.info.version, amount=number(statistics))
        yield counter
