"""Signs of life: each worker rewrites a row of its own; whoever looks after the jobs sees which one stopped."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from service.store.clock import now
from service.store.database import Database
from service.store.tables import Worker

LOG = logging.getLogger("levelset.worker")
BEATS: Final = 3  # in one lease


class Heart:
    """The signs of one worker, given from a thread that no shard can hold up.

    Args:
        database: where the row lies.
        worker: name of its slot.
        lease: seconds after which others may take it for lost.
    """

    def __init__(self, database: Database, worker: str, *, lease: float) -> None:
        self._database = database
        self._worker = worker
        self._pause = lease / BEATS
        self._started = now()

    def start(self) -> None:
        """Give the first sign, and the others until the process ends."""
        self.beat()
        threading.Thread(target=self._beat_on, name="heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Give one sign."""
        with self._database.write() as session:
            session.merge(Worker(name=self._worker, beat_at=now(), started_at=self._started))

    def _beat_on(self) -> None:
        while True:
            time.sleep(self._pause)
            try:
                self.beat()
            except Exception:
                LOG.exception("no sign of life could be written; the next one is tried")


@dataclass(frozen=True, slots=True)
class Sight:
    """Workers by name: those that give signs, and those that stopped."""

    alive: frozenset[str]
    lost: frozenset[str]


class Watch:
    """Sees which workers stopped: their row did not change for a lease by this process's own clock.

    Clocks of several hosts need not agree, since two of them are never compared.

    Args:
        database: where the rows lie.
        lease: seconds.
        clock: seconds that only grow.
    """

    def __init__(self, database: Database, *, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}  # worker -> its newest sign, and when that was seen first

    def look(self) -> Sight:
        """Return who is there and who is lost."""
        with self._database.read() as session:
            beats = {row.name: row.beat_at for row in session.scalars(select(Worker))}
        moment = self._clock()
        known = {name: self._seen.get(name, (0, 0.0)) for name in beats}
        self._seen = {name: known[name] if known[name][0] == beat else (beat, moment) for name, beat in beats.items()}
        lost = frozenset(name for name, (_, since) in self._seen.items() if moment - since > self._lease)
        return Sight(frozenset(beats) - lost, lost)

    def forget(self, worker: str) -> None:
        """Forget a lost worker; one that comes back signs anew."""
        with self._database.write() as session:
            row = session.get(Worker, worker)
            if row is not None and row.beat_at == self._seen.get(worker, (0, 0.0))[0]:
                session.delete(row)
