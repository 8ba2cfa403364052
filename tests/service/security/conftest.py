"""The whole application in this process, behind a key, without models and without a socket."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.routes.rooms import Rooms
from service.security.keys import Minted, Order
from service.security.scopes import Scope
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class House:
    """A running application and a way to come to it."""

    app: FastAPI
    rooms: Rooms

    def client(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client that shows this key; none for None."""
        shown = {"Authorization": f"Bearer {token}"} if token is not None else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=shown | headers)

    def mint(self, *scopes: Scope, name: str = "tester", owner: str | None = None, rate: float | None = None) -> Minted:
        """Return a new key, known to the application at once."""
        minted = self.rooms.doorkeeper.ring.store.create(Order(name, frozenset(scopes), owner, rate))
        self.rooms.doorkeeper.ring.outdate()
        return minted


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[House]:
    """Yield an application that has started."""
    app = create_app(Settings(**settings))
    async with app.router.lifespan_context(app):
        yield House(app, app.state.rooms)


Opened = Callable[[Callable[[House], Awaitable[None]]], None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return an empty data folder."""
    return tmp_path / "data"
