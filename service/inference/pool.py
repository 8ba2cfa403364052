"""The served models: every version in the repository, loaded in the device's thread, each behind its own batcher."""

import asyncio
import logging
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ensemble import SymmetryEnsemble
from ensemble.errors import LevelsetError, UnknownName
from service.catalogue.model_info import ModelInfo
from service.catalogue.repository import ModelRepository
from service.errors import NotReady, UnknownModel, UnusableModel
from service.inference.batcher import Batcher, Bounds, Results
from service.inference.outputs import compute
from service.inference.plans import FastestPlan
from service.inference.signature import Signature, signature_of
from service.inference.views import View, parse_view
from service.settings import Settings

LOG = logging.getLogger("levelset.models")
WARM_UP: Final = 2.0  # seconds after which the warm-up of a model begins no further batch
DAMAGED = "its stored artifact cannot be used (the server's log has the reason)"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One version of one ensemble, ready to answer."""

    info: ModelInfo
    batcher: Batcher
    fastest: FastestPlan


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """A resolved request: the view, the version that answers, and its signature."""

    view: View
    served: Served
    signature: Signature

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.served.info.version

    async def infer(self, rows: NDArray[np.float32]) -> Results:
        """Return every output of the view for `rows`."""
        return await self.served.batcher.infer(self.view, rows)


class ModelPool:
    """Loads what the repository holds and looks for more; started and stopped by the application's lifespan.

    Args:
        repository: where models are stored.
        settings: device, bounds, poll interval.
    """

    def __init__(self, repository: ModelRepository, settings: Settings) -> None:
        self._repository = repository
        self._settings = settings
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"torch-{settings.device}")
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")
        self._served: dict[tuple[str, str], Served] = {}
        self._broken: dict[tuple[str, str], str] = {}
        self._watcher: asyncio.Task[None] | None = None
        self.scanned = False

    async def start(self) -> None:
        """Begin loading; `scanned` turns true when everything found was tried once."""
        await self._on_device(torch.set_num_threads, self._settings.threads)
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop loading and answering."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        for served in self._served.values():
            await served.batcher.stop()
        self._device.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False, cancel_futures=True)

    def versions(self, name: str) -> list[str]:
        """Return the versions of an ensemble that answer, oldest first."""
        return sorted((version for known, version in self._served if known == name), key=int)

    def loaded(self) -> list[ModelInfo]:
        """Return the newest answering version of every ensemble, by name."""
        names = sorted({name for name, _ in self._served})
        return [self._served[name, self.versions(name)[-1]].info for name in names]

    def plans(self, name: str, version: str) -> dict[str, str]:
        """Return how an answering version runs: `most rows -> execution plan`, as measured so far."""
        return {str(rows): plan for rows, plan in sorted(self._served[name, version].fastest.known.items())}

    def broken(self) -> dict[str, str]:
        """Return `name/version -> reason` of what is stored and cannot be served."""
        return {f"{name}/{version}": reason for (name, version), reason in sorted(self._broken.items())}

    def resolve(self, name: str, version: str | None = None) -> Address:
        """Return who answers requests for `name`; without a version the newest that can.

        Raises:
            UnknownModel: no such model, version or member.
            UnusableModel: it is stored but cannot be loaded.
            NotReady: models are still being loaded.
        """
        view = parse_view(name)
        versions = self.versions(view.ensemble)
        chosen = version if version is not None else (versions[-1] if versions else None)
        if chosen not in versions or chosen is None:
            raise self._absence(view, version)
        served = self._served[view.ensemble, chosen]
        info = served.info
        if view.member is not None and view.member >= info.members:
            raise UnknownModel(
                f"model: expected a member below {info.members} of {view.ensemble!r}, got {view.member}; "
                f"name one of {view.ensemble}.m0 to {view.ensemble}.m{info.members - 1}"
            )
        signature = signature_of(view, input_shape=info.input_shape, num_classes=info.num_classes, members=info.members)
        return Address(view, served, signature)

    def _absence(self, view: View, version: str | None) -> UnknownModel | UnusableModel | NotReady:
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
        return UnknownModel(f"model: expected one of {known}, got {wanted}; GET /api/v1/models lists them")

    async def _watch(self) -> None:
        while True:
            try:
                for name, version in await self._on_disk(self._stored):
                    if (name, version) not in self._served and (name, version) not in self._broken:
                        await self._load(name, version)
            except LevelsetError as error:
                LOG.warning("the model folder could not be read: %s", error)
            except OSError as error:
                LOG.warning("the model folder could not be read: %s", error)
            self.scanned = True
            await asyncio.sleep(self._settings.model_poll)

    def _stored(self) -> list[tuple[str, str]]:
        found = []
        for name in self._repository.names():
            with suppress(UnknownName):
                found += [(name, version) for version in self._repository.versions(name)]
        gone = set(self._broken) - set(found)
        for key in gone:
            del self._broken[key]
        return found

    async def _load(self, name: str, version: str) -> None:
        try:
            info = await self._on_disk(self._repository.info, name, version)
            model = await self._on_disk(self._repository.load, name, version, self._settings.device)
            fastest = FastestPlan()
            await self._on_device(_warm_up, model, info, fastest, self._settings)
        except Exception as error:
            self._broken[name, version] = DAMAGED
            LOG.warning("model %s version %s is not served: %s", name, version, error)
            return
        batcher = Batcher(self._executor(model, fastest), _bounds(self._settings))
        batcher.start()
        self._served[name, version] = Served(info, batcher, fastest)

    def _executor(self, model: SymmetryEnsemble, fastest: FastestPlan) -> Any:
        async def execute(view: Hashable, rows: NDArray[np.float32]) -> Results:
            results: Results = await self._on_device(_compute, model, view, rows, self._settings.device, fastest)
            return results

        return execute

    async def _on_device(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._device, call, *arguments)

    async def _on_disk(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *arguments)


def _compute(
    model: SymmetryEnsemble, view: Hashable, rows: NDArray[np.float32], device: str, fastest: FastestPlan
) -> Results:
    if not isinstance(view, View):
        raise TypeError(f"key of a batch: expected a View, got {type(view).__name__}")
    return compute(model, view, rows, device=device, fastest=fastest)


def _warm_up(model: SymmetryEnsemble, info: ModelInfo, fastest: FastestPlan, settings: Settings) -> None:
    """Run every view once and choose plans, the smallest batches first; a slow model chooses the rest when asked."""
    deadline = time.monotonic() + WARM_UP
    for rows in [*(1 << power for power in range((settings.max_rows - 1).bit_length())), settings.max_rows]:
        zeros = np.zeros((rows, *info.input_shape), dtype=np.float32)
        for kind in (View(info.name, "base"), View(info.name, "member", 0), View(info.name)):
            compute(model, kind, zeros, device=settings.device, fastest=fastest)
        if time.monotonic() > deadline:
            return


def _bounds(settings: Settings) -> Bounds:
    return Bounds(settings.max_rows, settings.queue_rows, settings.queue_bytes, settings.queue_timeout)
