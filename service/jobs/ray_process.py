"""Shards on Ray behind the handle of the shard process: the same question, the same answer, another host."""

import asyncio
import os
import signal
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from service.errors import ServiceError
from service.jobs.child import answer_once
from service.jobs.shard_process import ShardFailed, ShardProcess, ShardProcessDied
from service.settings import Settings

USAGE: Final = "RAY_USAGE_STATS_ENABLED"


class RayProcess(ShardProcess):
    """Asks Ray workers instead of a child; a Ray worker that dies is told to the caller, never retried by Ray.

    The nodes must see the service's data folder. Each Ray worker keeps the evaluations it built.

    Args:
        settings: handed to each task; `address` says where Ray listens, unset: a Ray of this host alone.

    Raises:
        ServiceError: `connect` finds no Ray installed, or none at the address.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        gpus = int(settings.device.startswith("cuda"))
        # Ray shows a task its own device only, which is then the first.
        self._fields = settings.model_dump(mode="json", exclude_none=True) | ({"device": "cuda"} if gpus else {})
        self._gpus = gpus
        self._task: Any = None
        self._open: set[Any] = set()

    def warm_up(self) -> None:
        """Connect to Ray; called once, on the main thread, since simultaneous calls race."""
        os.environ[USAGE] = "0"
        kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            import ray
        except ImportError:
            raise ServiceError("engine ray: expected the package ray, got none; pip install 'levelset[ray]'") from None
        try:
            if not ray.is_initialized():
                ray.init(address=self._settings.address or "local", log_to_driver=False, namespace="levelset")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ServiceError(
                f"engine ray: expected Ray at {self._settings.address}, got {type(error).__name__}; correct --address"
            ) from error
        finally:  # Ray's own handlers would end the worker in the middle
            for number, handler in kept.items():
                signal.signal(number, handler)
        # max_retries: the poison rule counts deaths; max_calls: a worker on a GPU keeps its weights, too.
        options = {"num_cpus": 1, "num_gpus": self._gpus, "max_retries": 0, "max_calls": 0}
        self._task = ray.remote(**options)(answer_on_node)

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of a Ray worker; a cancelled caller cancels the task at once.

        Raises:
            ShardProcessDied: the Ray worker, its node or the connection ended before it answered.
            ShardFailed: it answered with an error.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        reference = self._task.remote(self._fields, dict(message))
        self._open.add(reference)
        try:
            answer: dict[str, Any] = await asyncio.wrap_future(reference.future())
        except asyncio.CancelledError:
            ray.cancel(reference, force=True)
            raise
        except RayTaskError as error:
            raise ShardFailed("internal", f"{type(error).__name__} on a Ray worker; its log has the reason") from error
        except RayError as error:
            raise ShardProcessDied(f"a Ray worker ended before it answered ({type(error).__name__})") from None
        finally:
            self._open.discard(reference)
        if "error" in answer:
            raise ShardFailed(answer["error"]["code"], answer["error"]["message"])
        return answer

    def kill(self) -> None:
        """Cancel what is in flight and leave Ray: the worker stops."""
        import ray

        for reference in tuple(self._open):
            ray.cancel(reference, force=True)
        ray.shutdown()


def answer_on_node(fields: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to one question, in a Ray worker.

    Args:
        fields: of the settings.
        question: as the shard process gets it.
    """
    settings = Settings(**fields)
    return answer_once(_benches(settings.model_dump_json()), dict(question), settings)


@lru_cache(maxsize=1)
def _benches(fields: str) -> Any:
    from service.jobs.benches import Benches

    return Benches(Settings.model_validate_json(fields))
