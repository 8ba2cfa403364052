"""What the routes reach for: made in the application's lifespan, nothing of it global."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import Request

from service.jobs.ledger import JobLedger
from service.observability.instruments import Instruments
from service.routes.streams import Streams
from service.security.doorkeeper import Doorkeeper
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.reports import ReportShelf
from service.store.tables import Job, Report

if TYPE_CHECKING:
    from service.catalogue.base_models import BaseModels
    from service.catalogue.repository import ModelRepository
    from service.inference.pool import ModelPool
    from service.jobs.desk import JobDesk
    from service.jobs.retention import Keeper
    from service.routes.capabilities import Capabilities
    from service.trying.desk import TryDesk


@dataclass(slots=True, eq=False)
class Rooms:
    """Long-lived objects of one application; only the two words about stopping change.

    Attributes:
        draining: a stop is under way: not ready, so that a balancer looks elsewhere.
        refusing: the stop has come so far that new work is refused.
    """

    settings: Settings
    pool: "ModelPool"
    desk: "JobDesk"
    ledger: JobLedger
    reports: ReportShelf
    artifacts: ArtifactStore
    keeper: "Keeper"
    capabilities: "Capabilities"
    secret: bytes
    bases: "BaseModels"
    repository: "ModelRepository"
    partial: Callable[[Job, Sequence[str]], dict[str, Any]]
    compare: Callable[[Report, Report], dict[str, Any]]
    doorkeeper: Doorkeeper
    tries: "TryDesk"
    streams: Streams
    instruments: Instruments = field(default_factory=Instruments)
    draining: bool = False
    refusing: bool = False


def rooms_of(request: Request) -> Rooms:
    """Return the objects of the application that `request` came to."""
    rooms: Rooms = request.app.state.rooms
    return rooms
