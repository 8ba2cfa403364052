"""Messages between a worker and its shard process: JSON in length-prefixed frames on a socket, never pickle."""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

_LENGTH: Final = struct.Struct(">Q")


def send(channel: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message."""
    body = json.dumps(message, allow_nan=False).encode()
    channel.sendall(_LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any]:
    """Return the next message.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    message: dict[str, Any] = json.loads(_exactly(channel, length))
    return message


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other side closed the channel")
        parts += part
    return bytes(parts)
