"""The worker's handle on its shard process: one long-lived child that owns torch and the device."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from service.errors import ServiceError
from service.jobs import frames
from service.settings import Settings

MODULE: Final = "service.jobs.child"


class ShardProcessDied(ServiceError):
    """The child ended before it answered."""


class ShardFailed(ServiceError):
    """The child answered with an error.

    Args:
        code: `invalid` for what no retry mends, `internal` for everything else.
        message: what the report of the failure says.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class ShardProcess:
    """Starts the child, asks it one thing at a time, kills it when a withdrawn question takes long.

    Args:
        settings: handed to the child through its environment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        # One thread starts the child and talks to it; it lives as long as the worker, and so may the child.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard-process")

    def warm_up(self) -> None:
        """Start the child in the background, so that the first job does not wait for its imports."""
        self._thread.submit(self._start)

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the child's answer; a cancelled caller leaves when the child has finished or was killed.

        Raises:
            ShardProcessDied: it ended before it answered.
            ShardFailed: it answered with an error.
        """
        answer = asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, dict(message))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            # Another child takes seconds to start, so a short shard may end; its result is stored and found again.
            await asyncio.wait([answer], timeout=self._settings.cancel_grace / 2)
            if not answer.done():
                self.kill()
                await asyncio.wait([answer])
            if not answer.cancelled():
                answer.exception()
            raise

    def kill(self) -> None:
        """End the child at once; the next question starts another."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        channel = self._start()
        try:
            frames.send(channel, message)
            answer = frames.receive(channel)
        except (OSError, EOFError):
            self._bury()
            raise ShardProcessDied("the shard process ended before it answered; see the worker's log") from None
        if "error" in answer:
            raise ShardFailed(answer["error"]["code"], answer["error"]["message"])
        return answer

    def _start(self) -> socket.socket:
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self._bury()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **self._settings.to_environment(), **_thread_variables(self._settings.threads)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._channel = ours
        return ours

    def _bury(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self.kill()
            self._process.wait()
            self._process = None


def _thread_variables(threads: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
