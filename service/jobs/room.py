"""The worker's room: the steps of a job, one shard at a time per device, fair between jobs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from service.errors import JobStopped, Nondeterministic, PoisonedShard, ServiceError
from service.jobs.fencing import LeaseLost
from service.jobs.progress import CommittedShard, NewFile, NewReport, Outcome, Progress
from service.jobs.shard_process import ShardFailed, ShardProcess, ShardProcessDied
from service.jobs.tallies import ShardOutcome

LOG = logging.getLogger("levelset.worker")
TRIES: Final = 3  # of one shard that raises or kills its process


class WorkerRoom:
    """What the durable workflow calls; every method may run twice and leaves the same behind.

    Args:
        progress: the pen for the job rows.
        process: the child that owns torch.
        watchdog: seconds one question may take before the child is killed; None for any number.
    """

    def __init__(self, progress: Progress, process: ShardProcess, *, watchdog: float | None = None) -> None:
        self._progress = progress
        self._process = process
        self._watchdog = watchdog
        self._gate: asyncio.Lock | None = None
        self._leaving = False

    async def plan(self, job_id: str) -> dict[str, Any]:
        """Return the artifact of the plan and the keys of its shards, in order."""
        async with self._accountable(job_id):
            spec = await asyncio.to_thread(self._progress.spec, job_id)
            answer = await self._ask({"do": "plan", "spec": spec})
            await asyncio.to_thread(
                self._progress.planned,
                job_id,
                shards=len(answer["keys"]),
                samples=answer["samples"],
                plan=answer["plan"],
            )
            return {"plan": answer["plan"], "keys": answer["keys"]}

    async def shard(self, job_id: str, plan: str, key: str) -> dict[str, Any]:
        """Return the digest of the result of one shard, which is stored by then."""
        async with self._accountable(job_id), self._counted(), self._device():
            spec = await asyncio.to_thread(self._progress.spec, job_id)
            await asyncio.to_thread(self._progress.begin, job_id, key)
            try:
                answer = await self._ask({"do": "run", "spec": spec, "plan": plan, "key": key}, gated=True)
            except BaseException:
                await asyncio.to_thread(self._progress.release, job_id, key)
                raise
            shard = CommittedShard(
                key,
                answer["digest"],
                answer["samples"],
                answer["cached"],
                answer["title"],
                answer.get("attack"),
                answer.get("seconds", 0.0),
            )
            await asyncio.to_thread(self._progress.commit, job_id, shard)
            return {"digest": shard.digest}

    async def finish(self, job_id: str, plan: str) -> dict[str, Any]:
        """Return the id and the digest of the report, which is stored by then."""
        async with self._accountable(job_id):
            spec = await asyncio.to_thread(self._progress.spec, job_id)
            answer = await self._ask({"do": "finish", "spec": spec, "plan": plan})
            report = NewReport(**answer["report"]) if answer.get("report") else None
            files = tuple(NewFile(**file) for file in answer.get("files", ()))
            outcome = Outcome(report, answer.get("result"), files)
            return {
                "report": await asyncio.to_thread(self._progress.succeeded, job_id, outcome),
                "digest": None if report is None else report.digest,
            }

    def leave(self) -> None:
        """Stop working: the shard in flight is dropped and runs again after the next start."""
        self._leaving = True
        self._process.kill()

    async def _ask(self, question: Mapping[str, Any], *, gated: bool = False) -> dict[str, Any]:
        if not gated:
            async with self._device():
                return await self._ask(question, gated=True)
        for attempt in range(1, TRIES + 1):
            try:
                async with asyncio.timeout(self._watchdog):
                    return await self._process.ask(question)
            except TimeoutError:  # the child was killed while this was waited for
                if attempt == TRIES:
                    raise ShardProcessDied(
                        f"the shard process gave no answer for {self._watchdog:g} s, {TRIES} times; lower `block`, or "
                        "raise LEVELSET_SHARD_TIMEOUT"
                    ) from None
            except ShardProcessDied:
                if self._leaving:
                    await _for_ever()
                if attempt == TRIES:
                    raise
            except ShardFailed as error:
                if error.code == "invalid" or attempt == TRIES:
                    raise
            LOG.warning("%s failed, attempt %d of %d", question["do"], attempt, TRIES)
            if question["do"] == "run":
                await asyncio.to_thread(self._progress.count, ShardOutcome.RETRIED)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _device(self) -> AsyncIterator[None]:
        if self._gate is None:  # made on the loop the steps run on; waiters are served in order
            self._gate = asyncio.Lock()
        async with self._gate:
            yield

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        try:
            yield
        except (JobStopped, LeaseLost):
            raise
        except Exception:
            await asyncio.to_thread(self._progress.count, ShardOutcome.FAILED)
            raise

    @asynccontextmanager
    async def _accountable(self, job_id: str) -> AsyncIterator[None]:
        try:
            yield
        except JobStopped:
            await _for_ever()  # the engine is about to stop this step; an outcome now would be remembered
        except LeaseLost as error:
            LOG.warning("%s", error)
            await asyncio.to_thread(self._progress.lost)
            raise  # the engine asks the same question before it records an outcome, and records none
        except Exception as error:
            code, message = _cause(error)
            unforeseen = None if isinstance(error, ServiceError) else error
            LOG.error("job %s failed (%s): %s", job_id, code, message, exc_info=unforeseen)
            await asyncio.to_thread(self._progress.failed, job_id, code=code, message=message)
            raise


def _cause(error: Exception) -> tuple[str, str]:
    if isinstance(error, ShardFailed):
        return error.code, str(error)
    if isinstance(error, PoisonedShard | ShardProcessDied):
        return "poison", str(error)
    if isinstance(error, Nondeterministic):
        return "nondeterminism", str(error)
    return "internal", f"{type(error).__name__} in the worker; its log has the reason"


async def _for_ever() -> None:
    await asyncio.Event().wait()
