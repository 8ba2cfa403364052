"""The worker process: runs durable workflows until it is told to stop, and continues them after it was killed."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from service.jobs.dbos_engine import APPLICATION, QUEUE, VERSION, WORKFLOW, engine_url, migrate_engine
from service.jobs.fencing import EngineFence
from service.jobs.heartbeat import Heart
from service.jobs.progress import Progress
from service.jobs.room import WorkerRoom
from service.jobs.shard_process import ShardProcess
from service.settings import Settings
from service.store.database import Database, migrate
from service.trying.lane import TryLane

LOG = logging.getLogger("levelset.worker")
MAX_RECOVERY_ATTEMPTS = 1000  # the engine counts every dispatch and never resets; our own limit is PoisonedShard


def _ray(settings: Settings) -> ShardProcess:
    from service.jobs.ray_process import RayProcess

    return RayProcess(settings)


EXECUTORS: Final[Mapping[str, Callable[[Settings], ShardProcess]]] = MappingProxyType(
    {"local": ShardProcess, "ray": _ray}
)


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; what is in flight then runs again after the next start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    lock = settings.data / "migrate.lock"
    migrate(settings.database_url, lock=lock)
    migrate_engine(settings.database_url, lock=lock)
    database = Database(settings.database_url)
    progress = Progress(database, worker=settings.worker, fence=EngineFence())
    process = EXECUTORS[settings.engine](settings)
    process.warm_up()
    for job_id in progress.recover():
        LOG.warning("job %s was left running and is continued", job_id)
    Heart(database, settings.worker, lease=settings.worker_lease).start()
    room = WorkerRoom(progress, process, watchdog=settings.shard_timeout)
    _launch(settings, room)
    TryLane(settings, ShardProcess(settings)).start()
    stop.wait()
    room.leave()
    progress.leave()
    logging.shutdown()
    os._exit(0)  # nothing is left to do: every outcome is in the database, and a step in flight must not record one


def _launch(settings: Settings, room: WorkerRoom) -> None:
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": engine_url(settings.database_url),
        "serializer": DBOSPortableJSONSerializer(),
        "application_version": VERSION,
        "executor_id": settings.worker,
        "log_level": "WARNING",
        "enable_otlp": False,
    }
    DBOS(config=config)
    register(room)
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=settings.job_concurrency,
        polling_interval_sec=settings.job_poll,
        on_conflict="always_update",
    )


def register(room: WorkerRoom) -> None:
    """Register the one workflow; the order of its steps is what `VERSION` names."""

    async def plan(job_id: str) -> dict[str, Any]:
        return await room.plan(job_id)

    async def shard(job_id: str, planned: str, key: str) -> dict[str, Any]:
        return await room.shard(job_id, planned, key)

    async def finish(job_id: str, planned: str) -> dict[str, Any]:
        return await room.finish(job_id, planned)

    steps = {step.__name__: DBOS.step(name=step.__name__, preemptible=True)(step) for step in (plan, shard, finish)}

    async def evaluate(job_id: str) -> dict[str, Any]:
        planned = await steps["plan"](job_id)
        for key in planned["keys"]:
            await steps["shard"](job_id, planned["plan"], key)
        finished: dict[str, Any] = await steps["finish"](job_id, planned["plan"])
        return finished

    DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(evaluate)
