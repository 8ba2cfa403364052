"""Connections that do not finish the head of their request: closed after a while, so that nobody holds them open."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class PunctualConnection(H11Protocol):
    """One HTTP/1.1 connection whose client must finish each request's head in time.

    uvicorn bounds the pause between requests and we bound bodies; a head that comes byte by byte is bounded here.

    Attributes:
        head_seconds: from the first byte of a head, or from the connection, to its end.
    """

    head_seconds: ClassVar[float] = 20.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head that begins has its time, one that ended is waited for no more."""
        if self._is_between_requests:
            self._expect_head()
        super().data_received(data)
        if not self._is_between_requests:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
