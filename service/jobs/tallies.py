"""What workers count: rows that grow in the transaction of what is counted, so that no kill loses or doubles one."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.jobs.states import JobState
from service.observability.metrics import SHARD_SECONDS
from service.store.tables import Job, Tally

SHARDS: Final = "job_shards"
LEASE_LOST: Final = "job_lease_lost"
ATTACK_SECONDS: Final = "attack_seconds"
_SUM: Final = "sum"
_INSERT: Final[Mapping[str, Callable[[Any], Any]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class ShardOutcome(StrEnum):
    """What became of a shard: the label of its counter."""

    COMPUTED = "computed"
    CACHED = "cached"
    RETRIED = "retried"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobNumbers:
    """What the metrics of jobs show.

    Attributes:
        states: state -> how many jobs, every state there is.
        shards: outcome -> how many.
        lease_lost: how many results were dropped.
        attacks: attack -> upper bound in seconds -> shards under it and above the bound before.
        seconds: attack -> seconds in all.
    """

    states: Mapping[str, int]
    shards: Mapping[str, float]
    lease_lost: float
    attacks: Mapping[str, Mapping[float, float]]
    seconds: Mapping[str, float]


def count_shard(session: Session, outcome: ShardOutcome) -> None:
    """Count one shard."""
    _add(session, SHARDS, outcome.value)


def count_lease_lost(session: Session) -> None:
    """Count one result that was dropped."""
    _add(session, LEASE_LOST)


def count_seconds(session: Session, attack: str, seconds: float) -> None:
    """Count the seconds of one computed shard."""
    bounds = (*SHARD_SECONDS, float("inf"))
    _add(session, ATTACK_SECONDS, attack, str(bounds[bisect_left(bounds, seconds)]))
    _add(session, ATTACK_SECONDS, attack, _SUM, seconds)


def read_numbers(session: Session) -> JobNumbers:
    """Return the numbers as they are now."""
    states = dict.fromkeys(map(str, JobState), 0)
    for state, count in session.execute(select(Job.state, func.count()).group_by(Job.state)):
        states[state] = int(count)
    shards = dict.fromkeys(map(str, ShardOutcome), 0.0)
    attacks: dict[str, dict[float, float]] = {}
    seconds: dict[str, float] = {}
    lost = 0.0
    for row in session.scalars(select(Tally)):
        if row.metric == SHARDS:
            shards[row.label] = row.value
        elif row.metric == LEASE_LOST:
            lost = row.value
        elif row.part == _SUM:
            seconds[row.label] = row.value
        else:
            attacks.setdefault(row.label, {})[float(row.part)] = row.value
    return JobNumbers(states, shards, lost, attacks, seconds)


def _add(session: Session, metric: str, label: str = "", part: str = "", amount: float = 1.0) -> None:
    insert = _INSERT[session.get_bind().dialect.name](Tally)
    named = {"metric": metric, "label": label, "part": part}
    session.execute(
        insert.values(**named, value=amount).on_conflict_do_update(
            index_elements=list(named), set_={"value": Tally.value + amount}
        )
    )
