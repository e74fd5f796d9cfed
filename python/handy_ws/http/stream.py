"""What the HTTP side reads and writes: the part of a socket that it uses, and a little more.

A stream never blocks. What it has taken may still be on its way to the socket, as with TLS, where
a record goes out as a whole or not at all: `unsent` says how much that is, and `flush` sends it.
"""

from __future__ import annotations

import socket

__all__ = ["PlainStream"]


class PlainStream(socket.socket):
    """A nonblocking TCP socket. It takes what the system takes, so nothing is ever left."""

    __slots__ = ()

    #: Bytes that were taken and wait for the socket; as long as there are any, it is full.
    unsent = 0

    def flush(self) -> int:
        """Send what is `unsent`, and return how many bytes went out."""
        return 0
