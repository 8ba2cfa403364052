"""The requests that wait: grouped by what may run together, first by priority, then by arrival."""

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.inference.executions import Results
from service.inference.tensors import Rows

AGEING: Final = 1.0  # seconds of waiting that raise a request by one priority, so that none starves
PRIORITIES: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A whole answer.

    Attributes:
        results: output name -> array, first axis = the request's rows.
        queued: seconds until its first execution began.
        computed: seconds of the executions it took part in.
    """

    results: Results
    queued: float
    computed: float


@dataclass(slots=True, eq=False)
class Waiting:
    """One request in the queue.

    Attributes:
        key: requests of different keys never share an execution.
        kind: class of cost.
        rows: `[rows ...]`.
        priority: 0 to 3, 0 first.
        arrived: time of arrival, by the loop's clock.
        deadline: time at which it is answered or refused.
        number: of the arrival.
        answer: what the client waits for.
        taken: rows that were given to executions.
        began: time at which its first execution began.
        computed: seconds of its executions.
        pieces: start -> results of the rows from there.
    """

    key: Hashable
    kind: Hashable
    rows: Rows
    priority: int
    arrived: float
    deadline: float
    number: int
    answer: asyncio.Future[Answered]
    taken: int = 0
    began: float | None = None
    computed: float = 0.0
    pieces: dict[int, Results] = field(default_factory=dict)

    @property
    def rest(self) -> int:
        """Return the rows that no execution was given yet."""
        return len(self.rows) - self.taken

    def rank(self, now: float) -> tuple[int, int]:
        """Return what orders requests: the priority, raised by waiting, then the arrival."""
        return max(0, self.priority - int((now - self.arrived) / AGEING)), self.number

    def finish(self) -> None:
        """Answer, once every row has a result."""
        if self.answer.done() or sum(len(next(iter(piece.values()))) for piece in self.pieces.values()) < len(
            self.rows
        ):
            return
        ordered = [self.pieces[start] for start in sorted(self.pieces)]
        began = self.arrived if self.began is None else self.began
        self.answer.set_result(Answered(_joined(ordered), began - self.arrived, self.computed))

    def fail(self, error: Exception) -> None:
        """Refuse, unless somebody has answered or given up."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows `start` to `end` of a request, given to one execution."""

    waiting: Waiting
    start: int
    end: int

    @property
    def rows(self) -> Rows:
        """Return the rows."""
        return self.waiting.rows[self.start : self.end]

    def __len__(self) -> int:
        return self.end - self.start


class Line:
    """The queue: what waits, and which of it runs next."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, list[Waiting]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self) -> Iterator[Waiting]:
        for group in self._groups.values():
            yield from group

    def add(self, waiting: Waiting) -> None:
        """Append a request."""
        self._groups.setdefault(waiting.key, []).append(waiting)

    def remove(self, waiting: Waiting) -> None:
        """Forget a request, if it waits here."""
        group = self._groups.get(waiting.key, [])
        if waiting in group:
            group.remove(waiting)
            if not group:
                del self._groups[waiting.key]

    def give_back(self, segments: Iterable[Segment]) -> None:
        """Let rows wait again that were taken and not executed; the order among requests stays by arrival."""
        for segment in segments:
            waiting = segment.waiting
            waiting.taken = min(waiting.taken, segment.start)
            if waiting.answer.done():
                continue
            if waiting not in self._groups.get(waiting.key, []):
                self.add(waiting)

    def head(self, now: float) -> Waiting:
        """Return the request that is next."""
        return min(self, key=lambda waiting: waiting.rank(now))

    def rows_like(self, waiting: Waiting) -> int:
        """Return the rows that could run with a request, its own included."""
        return sum(other.rest for other in self._groups[waiting.key])

    def take(self, max_rows: int, now: float) -> list[Segment]:
        """Return what runs next, at most `max_rows`: the head, and what may run with it in order.

        A request larger than that is given in pieces; every other one whole.
        """
        key = self.head(now).key
        group = sorted(self._groups[key], key=lambda waiting: waiting.rank(now))
        segments: list[Segment] = []
        room = max_rows
        for waiting in group:
            count = min(waiting.rest, room) if waiting.rest > max_rows or not segments else waiting.rest
            if count > room:
                continue
            segments.append(Segment(waiting, waiting.taken, waiting.taken + count))
            waiting.taken += count
            room -= count
            if not waiting.rest:
                self.remove(waiting)
            if not room:
                break
        return segments

    def ahead(self, priority: int) -> Mapping[Hashable, int]:
        """Return how many rows of each class of cost wait in front of a new request of that priority."""
        rows: dict[Hashable, int] = {}
        for group in self._groups.values():
            kind = group[0].kind
            rows[kind] = rows.get(kind, 0) + sum(other.rest for other in group if other.priority <= priority)
        return rows


def _joined(pieces: list[Results]) -> Results:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
