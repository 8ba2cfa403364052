"""Cumulative counters of one view since its model was loaded, in the words of the statistics extension."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.inference.executions import PHASES, Executed
from service.inference.waiting import Answered

NANOSECONDS = 10**9


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count `count` events of `seconds` together."""
        self.count += count
        self.seconds += seconds

    def to_dict(self) -> dict[str, int]:
        """Return the counter as the protocol writes it."""
        return {"count": self.count, "ns": int(self.seconds * NANOSECONDS)}


@dataclass(slots=True)
class ViewStatistics:
    """Counters of one view; they only grow.

    Attributes:
        last_inference: milliseconds since the epoch; 0 before the first.
        rows: answered.
        executions: batches run.
        success: whole requests, from arrival to answer.
        failure: requests that were refused or failed.
        queue: seconds requests waited.
        phases: seconds of executions, per request row group: phase -> duration.
        batches: rows of an execution -> phase -> duration.
    """

    last_inference: int = 0
    rows: int = 0
    executions: int = 0
    success: Duration = field(default_factory=Duration)
    failure: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    phases: dict[str, Duration] = field(default_factory=lambda: {phase: Duration() for phase in PHASES})
    batches: dict[int, dict[str, Duration]] = field(default_factory=dict)

    def executed(self, rows: int, executed: Executed) -> None:
        """Count an execution of `rows` rows."""
        self.executions += 1
        batch = self.batches.setdefault(rows, {phase: Duration() for phase in PHASES})
        for phase in PHASES:
            batch[phase].add(executed.seconds[phase])
            self.phases[phase].add(executed.seconds[phase])

    def answered(self, rows: int, seconds: float, answer: Answered) -> None:
        """Count an answered request of `rows` rows that took `seconds`."""
        self.last_inference = time.time_ns() // 10**6
        self.rows += rows
        self.success.add(seconds)
        self.queue.add(answer.queued)

    def failed(self, seconds: float) -> None:
        """Count a request that was not answered."""
        self.failure.add(seconds)

    def to_dict(self, name: str, version: str) -> dict[str, Any]:
        """Return the counters as the statistics extension writes them."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_inference,
            "inference_count": self.rows,
            "execution_count": self.executions,
            "inference_stats": {
                "success": self.success.to_dict(),
                "fail": self.failure.to_dict(),
                "queue": self.queue.to_dict(),
                **{phase: duration.to_dict() for phase, duration in self.phases.items()},
            },
            "batch_stats": [{"batch_size": rows, **_written(batch)} for rows, batch in sorted(self.batches.items())],
        }


def _written(batch: Mapping[str, Duration]) -> dict[str, dict[str, int]]:
    return {phase: duration.to_dict() for phase, duration in batch.items()}
