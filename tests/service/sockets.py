"""Raw sockets as several tests read them."""

import socket


def read_until_closed(connection: socket.socket) -> bytes:
    """Return what still comes before the other side closes."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received
