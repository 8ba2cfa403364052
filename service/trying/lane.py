"""The worker's lane for tries: a thread of its own and a process of its own, so that no shard is waited for."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from service.jobs.shard_process import ShardFailed, ShardProcess, ShardProcessDied
from service.settings import Settings
from service.trying.spool import Spool

LOG = logging.getLogger("levelset.worker")
LOOK: Final = 0.05  # seconds between looks for orders
SWEEP: Final = 60.0  # seconds between looks for what is too old
BUDGET: Final = 20.0  # seconds after which a try is killed; its asker was told so at ten
LOADING: Final = 300.0  # seconds that loading the libraries may take, which a busy machine stretches
TRIES: Final = 2  # of one try whose process ends
REST: Final = 600.0  # seconds without a try after which the process is given back


class TryLane:
    """Computes tries, one after another.

    Args:
        settings: where the spool lies.
        process: of this lane alone.
        budget: seconds after which a try is killed.
    """

    def __init__(self, settings: Settings, process: ShardProcess, *, budget: float = BUDGET) -> None:
        self._spool = Spool(settings.data / "try")
        self._process = process
        self._budget = budget
        self._warm = False
        self._used = 0.0
        self._swept = 0.0

    def start(self) -> None:
        """Begin to work, until the process ends."""
        threading.Thread(target=lambda: asyncio.run(self._work()), name="tries", daemon=True).start()

    async def _work(self) -> None:
        while True:
            try:
                if not await self.step():
                    await asyncio.sleep(LOOK)
            except OSError:
                LOG.exception("the folder of tries cannot be used; it is looked at again")
                await asyncio.sleep(1.0)

    async def step(self) -> bool:
        """Return whether there was a try, which is answered by now."""
        await self._keep_house(time.time())
        taken = self._spool.take()
        if taken is None:
            return False
        digest, order = taken
        await self._warm_up()
        if order["until"] > time.time() - self._budget:  # a little late is worth it: who asks again finds the answer
            self._spool.answer(digest, await self._tried(order["spec"]))
        return True

    async def _tried(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a try; whose process ends in the middle is tried once more, in a new one."""
        for _ in range(TRIES):
            await self._warm_up()
            self._used = time.time()
            answer = await self._answer("try", spec, self._budget)
            if answer.get("error", {}).get("code") != "gone":
                break
            LOG.warning("the process of a try ended before it answered")
        return answer

    async def _warm_up(self) -> None:
        if not self._warm:
            self._used = time.time()
            self._warm = "error" not in await self._answer("warm", {"type": "try"}, LOADING)

    async def _keep_house(self, now: float) -> None:
        woken = self._spool.woken()
        if woken > self._used and now - woken < REST:
            await self._warm_up()
        if self._warm and now - max(self._used, woken) > REST:
            self._warm = False
            self._process.kill()
        if now - self._swept > SWEEP:
            self._swept = now
            self._spool.sweep()

    async def _answer(self, what: str, spec: Mapping[str, Any], budget: float) -> dict[str, Any]:
        try:
            return {"result": await asyncio.wait_for(self._process.ask({"do": what, "spec": spec}), budget)}
        except TimeoutError:
            self._warm = False  # it was killed
            return _error("late", f"expected an answer within {budget:g} s, got none; take fewer steps")
        except ShardFailed as error:
            return _error(error.code, str(error))
        except ShardProcessDied:
            self._warm = False
            return _error("gone", "the process of the try ended before it answered; ask again")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
