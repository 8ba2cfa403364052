"""What the routes reach for: made in the application's lifespan, nothing of it global."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from service.jobs.ledger import JobLedger
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.reports import ReportShelf

if TYPE_CHECKING:
    from service.inference.pool import ModelPool
    from service.jobs.desk import JobDesk
    from service.routes.capabilities import Capabilities

OWNER = "local"  # who every resource belongs to until keys name owners


@dataclass(slots=True, eq=False)
class Rooms:
    """Long-lived objects of one application; `draining` is the only thing that changes."""

    settings: Settings
    pool: "ModelPool"
    desk: "JobDesk"
    ledger: JobLedger
    reports: ReportShelf
    artifacts: ArtifactStore
    capabilities: "Capabilities"
    secret: bytes
    draining: bool = False


def rooms_of(request: Request) -> Rooms:
    """Return the objects of the application that `request` came to."""
    rooms: Rooms = request.app.state.rooms
    return rooms
