"""The served models: every version in the repository, loaded in the device's thread, each behind its own batcher."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import torch

from ensemble.errors import LevelsetError, UnknownName
from service.catalogue.model_info import ModelInfo
from service.catalogue.repository import ModelRepository
from service.errors import MalformedRequest, NotReady, UnknownModel, UnusableModel
from service.inference.device import DeviceThread
from service.inference.loading import start_serving
from service.inference.served import Address, Served
from service.inference.statistics import ViewStatistics
from service.inference.views import View, parse_view
from service.observability.instruments import Instruments
from service.settings import Settings

LOG = logging.getLogger("levelset.models")
DAMAGED: Final = "its stored artifact cannot be used (the server's log has the reason)"
UNLOADED: Final = "unloaded"
T = TypeVar("T")


class ModelPool:
    """Loads what the repository holds and looks for more; started and stopped by the application's lifespan.

    Args:
        repository: where models are stored.
        settings: device, bounds, serving modes, poll interval.
        instruments: metrics of the application.
    """

    def __init__(self, repository: ModelRepository, settings: Settings, instruments: Instruments | None = None) -> None:
        self._repository = repository
        self._settings = settings
        self._instruments = instruments or Instruments()
        self._device = DeviceThread(settings.device)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")
        # Both are replaced, never changed: routes read them in threads of their own.
        self._served: Mapping[tuple[str, str], Served] = {}
        self._broken: Mapping[tuple[str, str], str] = {}
        self._unloaded: set[str] = set()
        self._active: dict[str, str] = {}
        self._loading = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self.scanned = False

    async def start(self) -> None:
        """Begin loading; `scanned` turns true when everything found was tried once."""
        await self._device.run(torch.set_num_threads, self._settings.threads)
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop loading and answering."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        for served in self._served.values():
            await served.batcher.stop()
        self._device.close()
        self._disk.shutdown(wait=False, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether no request is read, waits or runs."""
        return not any(served.batcher.admission.bytes for served in self._served.values())

    @property
    def lost(self) -> bool:
        """Whether the device failed for good: only a new process helps."""
        return self._device.lost

    def served(self) -> list[Served]:
        """Return every version that answers, by name and age."""
        served = self._served
        return [served[key] for key in sorted(served, key=lambda key: (key[0], int(key[1])))]

    def versions(self, name: str) -> list[str]:
        """Return the versions of an ensemble that answer, oldest first."""
        return sorted((version for known, version in self._served if known == name), key=int)

    def loaded(self) -> list[ModelInfo]:
        """Return the version of every ensemble that answers where none is named, by name."""
        served = self._served
        chosen = [(name, self.chosen(name)) for name in sorted({name for name, _ in served})]
        return [served[name, version].info for name, version in chosen if version and (name, version) in served]

    def chosen(self, name: str) -> str | None:
        """Return the version that answers where none is named: the activated one, else the newest that can."""
        versions = self.versions(name)
        active = self._active.get(name)
        return active if active in versions else versions[-1] if versions else None

    def activate(self, name: str, version: str) -> None:
        """Let a version answer from now on; what was admitted before is answered by the one it was admitted to."""
        self._active[name] = version

    def plans(self, name: str, version: str) -> dict[str, str]:
        """Return how an answering version runs: `most rows -> execution plan`, as measured; none once unloaded."""
        served = self._served.get((name, version))
        return {} if served is None else {str(rows): plan for rows, plan in sorted(served.fastest.known.items())}

    def costs(self, name: str, version: str) -> dict[str, float]:
        """Return the seconds, as learned so far, that a full execution takes `base`, one `member`, the `ensemble`.

        The entry `rows` says how many rows that is.
        """
        batcher = self._served[name, version].batcher
        rows, costs = batcher.max_rows, batcher.admission.costs
        kinds: dict[str, int | None] = {"base": 0, "member": 1, "ensemble": None}
        seconds = {view: costs.predict(kind, rows, max_rows=rows) for view, kind in kinds.items()}
        return {"rows": float(rows), **seconds}

    def broken(self) -> dict[str, str]:
        """Return `name/version -> reason` of what is stored and cannot be served."""
        return {f"{name}/{version}": reason for (name, version), reason in sorted(self._broken.items())}

    def statistics(self) -> list[dict[str, Any]]:
        """Return the counters of every view of every version that answers."""
        return [
            served.statistics.get(view, ViewStatistics()).to_dict(view.name, served.info.version)
            for served in self.served()
            for view in served.views()
        ]

    async def index(self) -> list[dict[str, str]]:
        """Return every stored version with its state, as the repository extension lists them."""
        rows = []
        for name, version in sorted(await self._on_disk(self._stored), key=lambda key: (key[0], int(key[1]))):
            reason = UNLOADED if name in self._unloaded else self._broken.get((name, version), "")
            loading = not reason and (name, version) not in self._served
            state = "UNAVAILABLE" if reason else "LOADING" if loading else "READY"
            rows.append({"name": name, "version": version, "state": state, "reason": reason})
        return rows

    async def load(self, name: str) -> None:
        """Serve an ensemble again, all its versions; nothing happens to what is served already.

        Raises:
            UnknownModel: nothing of that name is stored.
            UnusableModel: none of its versions can be loaded.
            MalformedRequest: the name is that of a view.
        """
        await self._check_stored(name)
        self._unloaded.discard(name)
        self._broken = {key: reason for key, reason in self._broken.items() if key[0] != name}
        await self._load_missing()
        self.resolve(name)

    async def unload(self, name: str) -> None:
        """Stop serving an ensemble, all its versions, once what they were asked is answered; until the next start.

        Raises:
            UnknownModel: nothing of that name is stored.
            MalformedRequest: the name is that of a view.
        """
        await self._check_stored(name)
        self._unloaded.add(name)
        leaving = [served for key, served in self._served.items() if key[0] == name]
        self._served = {key: served for key, served in self._served.items() if key[0] != name}
        for served in leaving:
            await served.batcher.drain(self._settings.drain_grace)
            await served.batcher.stop()

    def resolve(self, name: str, version: str | None = None) -> Address:
        """Return who answers requests for `name`; without a version the activated one, or the newest that can.

        Raises:
            UnknownModel: no such model, version or member, or it is unloaded.
            UnusableModel: it is stored but cannot be loaded.
            NotReady: models are still being loaded.
        """
        view = parse_view(name)
        versions = self.versions(view.ensemble)
        chosen = version if version is not None else self.chosen(view.ensemble)
        if chosen not in versions or chosen is None:
            raise self._absence(view, version)
        served = self._served[view.ensemble, chosen]
        if view.member is not None and view.member >= served.info.members:
            raise UnknownModel(
                f"model: expected a member below {served.info.members} of {view.ensemble!r}, got {view.member}; "
                f"name one of {view.ensemble}.m0 to {view.ensemble}.m{served.info.members - 1}"
            )
        return Address(view, served, served.signature(view))

    def _absence(self, view: View, version: str | None) -> UnknownModel | UnusableModel | NotReady:
        if view.ensemble in self._unloaded:
            return UnknownModel(f"model {view.ensemble!r}: expected a loaded one, got an unloaded one; load it first")
        broken = [found for name, found in self._broken if name == view.ensemble and version in (None, found)]
        if broken:
            reason = self._broken[view.ensemble, broken[-1]]
            return UnusableModel(
                f"model {view.ensemble!r}: expected a version that can be loaded, got version {broken[-1]}, but "
                f"{reason}; restore it from a copy, or build it again"
            )
        if not self.scanned:
            return NotReady("models are still being loaded; try again", retry_after=1)
        known = sorted({name for name, _ in self._served})
        wanted = repr(view.name) + (f" version {version[:40]!r}" if version is not None else "")
        return UnknownModel(f"model: expected one of {known}, got {wanted}; GET /api/v1/ensembles lists them")

    async def _check_stored(self, name: str) -> None:
        view = parse_view(name)
        if view.kind != "ensemble":
            raise MalformedRequest(
                f"model: expected an ensemble, got its view {view.name!r}; load or unload {view.ensemble!r} itself"
            )
        if name not in {stored for stored, _ in await self._on_disk(self._stored)}:
            known = sorted({stored for stored, _ in self._served})
            raise UnknownModel(
                f"model: expected a stored ensemble, of which {known} answer, got {name!r}; "
                "POST /v2/repository/index lists them"
            )

    async def _watch(self) -> None:
        while True:
            try:
                await self._load_missing()
            except (LevelsetError, OSError) as error:
                LOG.warning("the model folder could not be read: %s", error)
            self.scanned = True
            await asyncio.sleep(self._settings.model_poll)

    async def _load_missing(self) -> None:
        async with self._loading:
            stored = await self._on_disk(self._stored)
            self._active = await self._on_disk(self._activated, {name for name, _ in stored})
            self._broken = {key: reason for key, reason in self._broken.items() if key in stored}
            for name, version in stored:
                known = (name, version) in self._served or (name, version) in self._broken
                if not known and name not in self._unloaded:
                    await self._load(name, version)

    def _activated(self, names: Iterable[str]) -> dict[str, str]:
        return {name: version for name in names if (version := self._repository.active(name)) is not None}

    def _stored(self) -> list[tuple[str, str]]:
        found = []
        for name in self._repository.names():
            with suppress(UnknownName):
                found += [(name, version) for version in self._repository.versions(name)]
        return found

    async def _load(self, name: str, version: str) -> None:
        settings = self._settings
        try:
            info = await self._on_disk(self._repository.info, name, version)
            model = await self._on_disk(self._repository.load, name, version, settings.device)
            found = await start_serving(info, model, self._device, settings, self._instruments)
        except Exception as error:
            self._broken = {**self._broken, (name, version): DAMAGED}
            LOG.warning("model %s version %s is not served: %s", name, version, error)
            return
        self._served = {**self._served, (name, version): found}

    async def _on_disk(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, lambda: call(*arguments))
