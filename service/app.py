"""`create_app(settings)`: the whole application, put together in one visible place."""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import Response

from service.errors import HttpError
from service.observability.instruments import Instruments
from service.observability.middleware import Observed
from service.openapi.document import describe
from service.routes import (
    base_models,
    capabilities,
    compare_page,
    docs_page,
    ensembles,
    evaluate_page,
    events,
    health,
    infer,
    jobs,
    keys,
    login,
    metrics,
    models,
    pages,
    problem_pages,
    problems,
    reports,
    repository,
    statistics,
    try_it,
)
from service.routes.middleware import Gatekeeper, request_id
from service.routes.rooms import Rooms
from service.routes.streams import Streams
from service.security.doorkeeper import Doorkeeper
from service.security.guard import Guard
from service.security.opening import open_doorkeeper
from service.settings import Settings

if TYPE_CHECKING:
    from service.store.database import Database

LOG = logging.getLogger("levelset.web")
SWEEP = 0.5  # seconds between looks at what the engine did
COLLECT = 3600.0  # seconds between collections of what may be forgotten


def create_app(settings: Settings) -> FastAPI:
    """Return the application; nothing is opened before its lifespan starts.

    Args:
        settings: of the service; the data folder must be on a local disk.
    """
    instruments = Instruments()
    app = FastAPI(
        title="levelset",
        version=health.product_version(),
        summary="Symmetry ensembles: inference, evaluation jobs, reports",
        lifespan=partial(_lifespan, settings, instruments),
        middleware=[
            Middleware(Observed, instruments=instruments),
            Middleware(
                Gatekeeper,
                hosts=settings.host_names,
                trusted=settings.allowed_hosts,
                refuse=_refuse,
                on_error=problems.unexpected,
            ),
            Middleware(Guard, refuse=_refuse, instruments=instruments),
        ],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    # `statistics` before `models`: `/v2/models/stats` is no model's name.
    # `infer` first: routes are tried in turn, and under load that turn is paid by every request, refused ones too.
    operations = (infer, health, statistics, models, repository, metrics)
    api = (*operations, jobs, events, reports, ensembles, base_models, capabilities, keys)
    for room in (*api, pages, problem_pages, evaluate_page, compare_page, docs_page, login, try_it):
        app.include_router(room.router)
    app.mount("/static", pages.static_files(), name="static")
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, instruments: Instruments, app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        rooms = await _open(settings, instruments, stack)
        app.state.rooms = rooms
        tasks = [asyncio.create_task(_sweep(rooms)), asyncio.create_task(_collect(rooms))]
        try:
            yield
        finally:
            rooms.draining = rooms.refusing = True
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _open(settings: Settings, instruments: Instruments, stack: AsyncExitStack) -> Rooms:
    # Imported here: these rooms load torch and the engine's client, which importing this module must not.
    from service.catalogue.base_models import BaseModels
    from service.catalogue.repository import ModelRepository
    from service.inference.pool import ModelPool
    from service.jobs.comparing import compare_reports
    from service.jobs.dbos_engine import DbosEngine, migrate_engine
    from service.jobs.desk import JobDesk
    from service.jobs.heartbeat import Watch
    from service.jobs.inventory import take_inventory
    from service.jobs.ledger import JobLedger
    from service.jobs.partial import partial_report
    from service.jobs.reconcile import Reconciler
    from service.jobs.resolving import Resolver
    from service.jobs.retention import Keeper
    from service.jobs.takeover import Takeover
    from service.store.artifacts import ArtifactStore
    from service.store.database import Database, migrate
    from service.store.reports import ReportShelf
    from service.trying.desk import TryDesk

    settings.data.mkdir(parents=True, exist_ok=True)
    lock = settings.data / "migrate.lock"
    await asyncio.to_thread(migrate, settings.database_url, lock=lock)
    await asyncio.to_thread(migrate_engine, settings.database_url, lock=lock)
    database = Database(settings.database_url)
    stack.callback(database.close)
    engine = await asyncio.to_thread(DbosEngine, settings.database_url)
    stack.callback(engine.close)
    ledger = JobLedger(database, max_open=settings.max_open_jobs, max_open_per_owner=settings.max_open_jobs_per_owner)
    takeover = Takeover(database, engine, Watch(database, lease=settings.worker_lease))
    reconciler = Reconciler(ledger, engine, cancel_grace=settings.cancel_grace, takeover=takeover)
    repository = ModelRepository(settings.models_folder)
    secret = await asyncio.to_thread(_secret, settings.data / "cursor.key")
    pool = ModelPool(repository, settings, instruments)
    stack.push_async_callback(pool.stop)
    await pool.start()
    artifacts = ArtifactStore(settings.artifacts_folder)
    return Rooms(
        settings=settings,
        pool=pool,
        desk=JobDesk(settings, ledger, reconciler, Resolver(settings, repository, broken=pool.broken)),
        ledger=ledger,
        reports=ReportShelf(database),
        artifacts=artifacts,
        keeper=Keeper(database, settings.artifacts_folder, settings.bases_folder, keep_days=settings.keep_days),
        bases=BaseModels(settings.bases_folder),
        repository=repository,
        partial=partial(partial_report, artifacts),
        compare=partial(compare_reports, artifacts),
        capabilities=await asyncio.to_thread(take_inventory, settings),
        secret=secret,
        streams=Streams(settings, instruments.event_streams),
        doorkeeper=await _open_doorkeeper(settings, database, secret),
        tries=TryDesk(settings, lambda name: pool.resolve(name).served),
        instruments=instruments,
    )


async def _open_doorkeeper(settings: Settings, database: "Database", secret: bytes) -> Doorkeeper:
    doorkeeper = open_doorkeeper(settings, database, secret)
    await doorkeeper.ring.refresh()
    return doorkeeper


async def _sweep(rooms: Rooms) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        try:
            await asyncio.to_thread(rooms.desk.sweep)
        except Exception:
            LOG.exception("the sweep over unfinished jobs failed; it runs again")


async def _collect(rooms: Rooms) -> None:
    while True:
        await asyncio.sleep(COLLECT)
        try:
            await asyncio.to_thread(rooms.keeper.collect)
        except Exception:
            LOG.exception("what may be forgotten could not be collected; it is tried again")


def _secret(path: Path) -> bytes:
    """Return the key that signs cursors, made at the first start, readable by its owner only."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_bytes(32))
    return path.read_bytes()


def _refuse(request: Request, error: HttpError) -> Response:
    accept = request.headers.get("accept", "")
    return problems.respond(request.url.path, error, identity=request_id(request.scope), accept=accept)
