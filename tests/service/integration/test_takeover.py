"""A frozen worker, a second one that takes its job over, and what the metrics say: everything real."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.settings import Settings
from service.store.database import Database
from service.store.tables import Job, Worker
from tests.service.inference.models import copy_models
from tests.service.integration.service_process import Service, is_alive, running
from tests.service.integration.shown import executions, metrics

ALONE = "from service.settings import Settings; from service.supervisor import serve; serve(Settings(), 'worker')"
LEASE = 2.0


@contextmanager
def second_worker(service: Service) -> Iterator[int]:
    """Yield the process of another worker on the same data folder."""
    settings = service.settings.model_copy(update={"worker": "worker-1"})
    environment = {**os.environ, **settings.to_environment(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE], env=environment, stdout=service.log, stderr=subprocess.STDOUT
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


def freeze_in_a_shard(service: Service, database: Database, job_id: str) -> str:
    """Return the key of the shard in whose middle the worker stands still."""
    worker = service.child("worker")
    frozen: list[str] = []

    def froze() -> bool:
        os.kill(worker, signal.SIGSTOP)
        with database.read() as session:
            key = session.get_one(Job, job_id).in_flight
        if key is None:
            os.kill(worker, signal.SIGCONT)
            return False
        frozen.append(key)
        return True

    service.until(froze)
    return frozen[0]


def test_a_worker_that_wakes_up_late_writes_nothing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGSTOP past the lease, SIGCONT: another worker ends the job, one shard at most ran twice, same report."""
    copy_models(tmp_path_factory, tmp_path)
    settings = Settings(data=tmp_path, port=0, worker_lease=LEASE, log_format="json", log_level="info")
    with running(settings) as service:
        database = Database(settings.database_url)
        job_id = service.submit(seed=21)
        service.wait_for_shards(job_id, 3)
        with second_worker(service) as second:
            service.until(lambda: _workers(database) == ["worker-0", "worker-1"])
            key = freeze_in_a_shard(service, database, job_id)
            done = service.job(job_id)["progress"]["shards_done"]
            service.wait_for_shards(job_id, done + 2)
            os.kill(service.child("worker"), signal.SIGCONT)
            service.until(lambda: metrics(service)["levelset_job_lease_lost_total", ""] == 1)
            job = service.wait_for_end(job_id)
            assert is_alive(second)
        database.close()
        assert job["attempt"] == 2
        assert service.report(job)["report_digest"] == service.undisturbed_digest(job_id)
        events = service.client.get(f"/api/v1/jobs/{job_id}/events").json()["data"]
        counted = [event["data"]["shards_done"] for event in events if event["kind"] == "progress"]
        assert counted == list(range(1, job["progress"]["shards_total"] + 1))
        ran = Counter(begun.key for begun in executions(tmp_path / "log.txt") if not begun.ended)
        assert {shard: times for shard, times in ran.items() if times > 1} == {key: 2}
        shown = metrics(service)
        assert shown["levelset_job_shards_total", 'outcome="retried"'] == 1
        assert shown["levelset_job_lease_lost_total", ""] == 1


def _workers(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(row.name for row in session.query(Worker))
