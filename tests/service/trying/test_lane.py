"""The worker's lane: a try has a budget, and outlives the end of its process once.

The process is the real one.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from service.catalogue.repository import ModelRepository
from service.jobs.shard_process import ShardProcess, ShardProcessDied
from service.settings import Settings
from service.trying.lane import TRIES, TryLane
from service.trying.spool import Spool
from tests.service.inference.models import MEMBERS, copy_models

BUDGET = 60.0  # seconds; a busy machine computes a try slowly


class WatchedProcess(ShardProcess):
    """The real process of tries, to which something may happen as soon as it is asked."""

    happens: Callable[[int], None] | None = None
    asked = 0

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the child's answer."""
        if message["do"] == "try":
            self.asked += 1
            if self.happens is not None and self._process is not None:
                happens, self.happens = self.happens, None
                happens(self._process.pid)
        return await super().ask(message)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with the ensemble `digits`."""
    data = tmp_path_factory.mktemp("lane")
    copy_models(tmp_path_factory, data)
    return Settings(data=data, cancel_grace=0.2)


@pytest.fixture(scope="module")
def process(settings: Settings) -> Iterator[WatchedProcess]:
    """Yield a process that loads its libraries once."""
    process = WatchedProcess(settings)
    yield process
    process.kill()
    process._bury()


def ordered(settings: Settings, seed: int, *, until: float = 30.0) -> tuple[Spool, str]:
    """Return the spool with one new order, and the order's name."""
    info = ModelRepository(settings.models_folder).info("digits")
    spec = {
        "type": "try",
        "image": {"dataset": "digits", "index": 3},
        "target": "digits",
        "target_version": info.version,
        "target_digest": info.digest,
        "input_shape": list(info.input_shape),
        "mode": "prob",
        "owner": "local",
        "surrogate": "base",
        "attack": "pgd",
        "norm": "linf",
        "epsilon": 0.2,
        "steps": 5,
        "seed": seed,
    }
    spool, name = Spool(settings.data / "try"), f"{seed:064x}"
    spool.ask(name, {"spec": spec, "until": time.time() + until})
    return spool, name


def kill_when_it_works(pid: int) -> None:
    """Stop the process at once and kill it a moment later, in the middle of what it was asked."""
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL)).start()


def test_a_killed_process_is_started_again_and_the_try_answered(settings: Settings, process: WatchedProcess) -> None:
    """Whoever asked learns nothing of it: the second process answers."""
    spool, name = ordered(settings, 1)
    process.happens, process.asked = kill_when_it_works, 0
    assert asyncio.run(TryLane(settings, process, budget=BUDGET).step())
    answer = spool.answered(name)
    assert answer is not None
    assert len(answer["result"]["adversarial"]["members"]) == MEMBERS
    assert process.asked == TRIES


def test_a_try_beyond_its_budget_is_killed_and_the_next_one_answered(
    settings: Settings, process: WatchedProcess
) -> None:
    """A process that hangs is ended when the budget is spent; what is asked next gets another."""
    lane = TryLane(settings, process, budget=1.0)
    spool, name = ordered(settings, 2)
    process.happens, process.asked = (lambda pid: os.kill(pid, signal.SIGSTOP)), 0
    began = time.monotonic()
    assert asyncio.run(lane.step())
    assert time.monotonic() - began < BUDGET
    answer = spool.answered(name)
    assert answer is not None
    assert answer["error"]["code"] == "late"
    assert process.asked == 1
    again = TryLane(settings, process, budget=BUDGET)
    spool, name = ordered(settings, 3)
    assert asyncio.run(again.step())
    assert "result" in (spool.answered(name) or {})


class DyingProcess(ShardProcess):
    """Loads, and dies whenever it is asked."""

    asked = 0

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Die of a try."""
        if message["do"] == "warm":
            return {}
        self.asked += 1
        raise ShardProcessDied("gone")


def test_a_try_that_kills_every_process_ends(settings: Settings) -> None:
    """After the second process the try is given up, and says that it may be asked again."""
    spool, name = ordered(settings, 4)
    process = DyingProcess(settings)
    assert asyncio.run(TryLane(settings, process).step())
    assert (spool.answered(name) or {})["error"]["code"] == "gone"
    assert process.asked == TRIES


def test_an_order_nobody_waits_for_is_dropped(settings: Settings) -> None:
    """Orders that were written long before a worker came are taken and not computed."""
    spool, name = ordered(settings, 5, until=-3600.0)
    process = DyingProcess(settings)
    assert asyncio.run(TryLane(settings, process).step())
    assert process.asked == 0
    assert spool.answered(name) is None
    assert spool.take() is None
