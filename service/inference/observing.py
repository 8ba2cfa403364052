"""What a batcher tells: dispatches, executions, and a batch that had to shrink."""

from collections.abc import Hashable

from service.inference.executions import Executed


class Observer:
    """Hears of everything and does nothing about it; a pool's own observer counts."""

    def dispatched(self, reason: str, rows: int) -> None:
        """Hear of a dispatch.

        Args:
            reason: "full", "idle", "delay" or "deadline".
            rows: that go together.
        """

    def executed(self, key: Hashable, rows: int, executed: Executed) -> None:
        """Hear of an execution that succeeded.

        Args:
            key: of the requests in it.
            rows: that were executed together.
            executed: results and seconds.
        """

    def shrunk(self, max_rows: int) -> None:
        """Hear that executions are smaller from now on, since the device's memory was not enough."""
