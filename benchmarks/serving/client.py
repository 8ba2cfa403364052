"""HTTP/1.1 with prepared bytes over kept-alive connections: as little work as a client can do."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, pool: list["_Connection"]) -> None:
        self._pool = pool
        self._received = bytearray()
        self._head: tuple[int, dict[str, str], int] | None = None  # status, headers, bytes of the body
        self._answer: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._head is None:
            end = self._received.find(_HEAD_END)
            if end < 0:
                return
            self._head = _read_head(bytes(self._received[:end]))
            del self._received[: end + len(_HEAD_END)]
        status, headers, length = self._head
        if len(self._received) < length:
            return
        answer = Answer(status, headers, bytes(self._received[:length]))
        self._received.clear()
        self._head = None
        self.used = True
        self._finish(answer)
        assert self.transport is not None
        if headers.get("connection", "").lower() == "close":
            self.transport.close()
        else:
            self._pool.append(self)

    def _finish(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        with suppress(ValueError):
            self._pool.remove(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection before its answer"))


class Client:
    """Requests to one server, each over an idle connection or a new one.

    Args:
        port: of the server on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []
        self._all: set[asyncio.Transport] = set()

    async def ask(self, request: bytes) -> Answer:
        """Return the answer to a prepared request.

        Raises:
            ConnectionError: the server closed a fresh connection, or cannot be reached.
        """
        while True:
            connection = self._idle.pop() if self._idle else await self._open()
            reused = connection.used
            try:
                return await connection.ask(request)
            except ConnectionError:
                if not reused:  # an idle connection may be closed at any time; a fresh one tells about the server
                    raise

    async def close(self) -> None:
        """Leave every connection, with or without an answer."""
        for transport in self._all:
            transport.abort()
        self._all.clear()
        await asyncio.sleep(0.05)

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(lambda: _Connection(self._idle), "127.0.0.1", self._port)
        self._all.add(transport)
        return connection


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _read_head(head: bytes) -> tuple[int, dict[str, str], int]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "content-length" not in headers:
        raise RuntimeError(f"answer: expected a Content-Length, got {sorted(headers)}; this client reads nothing else")
    return int(first.split(" ", 2)[1]), headers, int(headers["content-length"])
