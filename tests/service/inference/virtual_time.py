"""An event loop whose clock jumps to the next timer: hours of queueing in milliseconds, the same every time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Never waits: what it would have waited is added to the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; the time passes at once."""
        if timeout:
            self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that runs on jumping time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now


def run(scene: Coroutine[Any, Any, T]) -> T:
    """Return what a scene returns, played in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene)
