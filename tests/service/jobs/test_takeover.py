"""Signs of life, hand-over and fence, without waiting: the clock of the watch is the test's own.

The engine here is a dictionary; the real one freezes and wakes up in the integration tests. Seen to fail when: a lone
worker's jobs are handed over; a worker whose row is new is taken for lost; a release by the old worker clears the shard
of the new one; the fence is not asked at a commit.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.jobs.dbos_engine import migrate_engine
from service.jobs.fencing import OWNER, EngineFence, LeaseLost
from service.jobs.heartbeat import Heart, Watch
from service.jobs.ledger import JobLedger, NewJob
from service.jobs.progress import CommittedShard, NewReport, Outcome, Progress
from service.jobs.reconcile import Reconciler
from service.jobs.states import EngineStatus
from service.jobs.takeover import Takeover
from service.store.database import Database, migrate
from tests.service.jobs.test_reconcile import TableEngine
from tests.service.postgres import Cluster

LEASE = 30.0
KEY = "a" * 64


class Site:
    """A job of worker `one`, the sweep, and hands on the clock."""

    def __init__(self, url: str) -> None:
        migrate(url)
        self.database = Database(url)
        self.ledger = JobLedger(self.database, max_open=9)
        self.engine = TableEngine()
        self.moment = 100.0
        self.watch = Watch(self.database, lease=LEASE, clock=lambda: self.moment)
        takeover = Takeover(self.database, self.engine, self.watch)
        self.reconciler = Reconciler(self.ledger, self.engine, cancel_grace=5.0, takeover=takeover)
        self.hearts = {name: Heart(self.database, name, lease=LEASE) for name in ("one", "two")}
        self.one = Progress(self.database, worker="one")
        self.job_id = self.ledger.create(NewJob("local", "evaluate", {}, {}, 1, None)).job.id
        self.reconciler.sweep()
        self.engine.statuses[self.job_id] = EngineStatus.RUNNING
        self.one.planned(self.job_id, shards=2, samples=2)
        self.one.begin(self.job_id, KEY)

    def pass_time(self, seconds: float, *signing: str) -> None:
        """Let time pass, with signs of life of some workers, and sweep."""
        self.moment += seconds
        for name in signing:
            self.hearts[name].beat()
        self.reconciler.sweep()


@pytest.fixture
def site(store_url: str) -> Iterator[Site]:
    """Yield a site on a database of each kind."""
    site = Site(store_url)
    yield site
    site.database.close()


def test_a_lost_workers_job_goes_to_another(site: Site) -> None:
    """Only after the lease, only once; its death is counted, the event says it, and it may come back."""
    site.pass_time(0, "one", "two")
    site.pass_time(LEASE - 1, "two")
    assert site.engine.resumed == []
    site.pass_time(2, "two")
    assert site.engine.resumed == [site.job_id]
    job = site.ledger.get(site.job_id, owner="local")
    assert (job.worker, job.in_flight, job.attempt, job.deaths) == (None, None, 2, 1)
    assert "no sign of life" in site.ledger.events(site.job_id, after=0, limit=99)[-1].data["message"]
    assert site.ledger.numbers().shards["retried"] == 1
    site.engine.statuses[site.job_id] = EngineStatus.RUNNING
    two = Progress(site.database, worker="two")
    two.begin(site.job_id, KEY)
    site.one.release(site.job_id, KEY)
    assert site.ledger.get(site.job_id, owner="local").in_flight == KEY
    site.pass_time(LEASE, "one", "two")
    assert site.engine.resumed == [site.job_id]
    assert site.watch.look().alive == {"one", "two"}


def test_a_lone_workers_jobs_wait(site: Site) -> None:
    """Nobody could take them, and the worker goes on where it stood."""
    site.pass_time(0, "one")
    site.pass_time(10 * LEASE)
    assert site.engine.resumed == []
    site.one.commit(site.job_id, CommittedShard(KEY, "d" * 64, 1, False, "one"))


def test_a_watch_that_begins_takes_nobody_for_lost(site: Site) -> None:
    """An old row says nothing before a lease was watched."""
    site.hearts["one"].beat()
    site.moment += 1e6
    assert site.watch.look().lost == frozenset()
    site.moment += LEASE + 1
    assert site.watch.look().lost == {"one"}


def test_without_the_fence_nothing_is_written(site: Site) -> None:
    """Every write of an execution that lost its job is refused, and counted where it was noticed."""

    class Closed:
        def holds(self, session: Session) -> bool:
            return False

    zombie = Progress(site.database, worker="one", fence=Closed())
    before = site.ledger.get(site.job_id, owner="local")
    report = NewReport("d" * 64, "CHECKED", {}, {})
    for write in (
        lambda: zombie.planned(site.job_id, shards=9, samples=9),
        lambda: zombie.begin(site.job_id, "b" * 64),
        lambda: zombie.commit(site.job_id, CommittedShard(KEY, "d" * 64, 1, False, "one")),
        lambda: zombie.succeeded(site.job_id, Outcome(report)),
    ):
        with pytest.raises(LeaseLost):
            write()
    zombie.failed(site.job_id, code="internal", message="m")
    after = site.ledger.get(site.job_id, owner="local")
    assert (after.state, after.last_seq, after.in_flight) == (before.state, before.last_seq, before.in_flight)
    assert site.ledger.counts([after]) == {}


def test_the_engines_token_decides(site: Site, store_url: str, tmp_path: Path) -> None:
    """The fence compares the context's token with the engine's own table; outside of a workflow it is closed."""
    from dbos._context import DBOSContext, _set_local_dbos_context, get_local_dbos_context

    migrate_engine(store_url, lock=tmp_path / "lock")
    schema = "dbos." if store_url.startswith("postgresql") else ""
    with site.database.write() as session:
        row = "(workflow_uuid, owner_xid, created_at, updated_at, priority) values ('w', 'mine', 1, 1, 0)"
        session.execute(sa.text(f"insert into {schema}workflow_status {row}"))
    context = DBOSContext()
    context.workflow_id = "w"
    kept = get_local_dbos_context()
    seen = []
    try:
        for context_or_none, token in ((None, None), (context, None), (context, "mine"), (context, "other")):
            context.owner_xid = token
            _set_local_dbos_context(context_or_none)
            with site.database.write() as session:
                seen.append(EngineFence().holds(session))
    finally:
        _set_local_dbos_context(kept)
    assert seen == [False, False, True, False]


def test_the_row_stays_while_the_fence_is_held(postgres: Cluster, tmp_path: Path) -> None:
    """On PostgreSQL the engine cannot hand the workflow on before the transaction that asked has ended."""
    url = postgres.new_database()
    migrate_engine(url, lock=tmp_path / "lock")
    engine = sa.create_engine(url)
    take = sa.text("update dbos.workflow_status set owner_xid = 'other' where workflow_uuid = 'w'")
    with engine.begin() as connection:
        row = "(workflow_uuid, owner_xid, created_at, updated_at, priority) values ('w', 'mine', 1, 1, 0)"
        connection.execute(sa.text(f"insert into dbos.workflow_status {row}"))
    with engine.begin() as writer:
        assert writer.execute(OWNER["postgresql"], {"workflow": "w"}).scalar() == "mine"
        with engine.connect() as other:
            other.execute(sa.text("set lock_timeout = '100ms'"))
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                other.execute(take)
    with engine.begin() as other:
        assert other.execute(take).rowcount == 1
    engine.dispose()


def test_only_one_web_process_hands_on(postgres: Cluster) -> None:
    """While one has the task no other gets it; it is free again afterwards."""
    url = postgres.new_database()
    one, two = Database(url), Database(url)
    with one.alone("takeover") as first, two.alone("takeover") as second:
        assert (first, second) == (True, False)
    with two.alone("takeover") as second:
        assert second
    for database in (one, two):
        database.close()
