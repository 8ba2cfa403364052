"""The whole application in this process, without models and without a socket; a key opens it."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
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
    loop: asyncio.AbstractEventLoop

    @property
    def rooms(self) -> Rooms:
        """Return the application's own objects."""
        rooms: Rooms = self.app.state.rooms
        return rooms

    def mint(self, *scopes: Scope, name: str = "tester", owner: str | None = None, rate: float | None = None) -> Minted:
        """Return a new key, known to the application at once."""
        ring = self.rooms.doorkeeper.ring
        minted = ring.store.create(Order(name, frozenset(scopes), owner, rate))
        ring.outdate()
        return minted

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> Any:
        """Return the answer to a request that shows this key."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.run(self._ask(method, path, headers | more.pop("headers", {}), more))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine gives in the application's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _ask(self, method: str, path: str, headers: dict[str, Any], more: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers, **more)

    def audited(self) -> str:
        """Return the audit log."""
        return (self.rooms.settings.data / "audit.log").read_text()


@contextmanager
def opened(**settings: Any) -> Iterator[House]:
    """Yield an application that has started."""
    app = create_app(Settings(**settings))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    house = House(app, loop)
    lifespan = app.router.lifespan_context(app)
    house.run(lifespan.__aenter__())
    try:
        yield house
    finally:
        house.run(lifespan.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Yield an application on loopback that has one admin key, so that every request needs one."""
    with opened(data=tmp_path_factory.mktemp("house")) as house:
        house.mint(Scope.ADMIN, name="first")
        yield house


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return an empty data folder."""
    return tmp_path / "data"
