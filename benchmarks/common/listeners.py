"""Connections that only listen: what comes is counted, and not looked at."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from benchmarks.common.wire import FrameCounter, ProtocolError

if TYPE_CHECKING:
    import socket

    from benchmarks.common.client import Client

__all__ = ["Listeners"]

_READ_SIZE = 1 << 16
_STALLED = 10.0


class Listeners:
    """Some connections, each of which gets the same number of messages."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._counters: dict[int, tuple[socket.socket, FrameCounter]] = {}

    def add(self, client: Client) -> None:
        """Have a connection listen. All that has come must have been read."""
        self._counters[client.socket.fileno()] = (client.socket, FrameCounter())
        self._poll.register(client.socket, select.EPOLLIN)

    def wait(self, messages: int = 1) -> None:
        """Wait until every connection has got that many more messages.

        Raises:
            ProtocolError: they do not come, or the server has closed a connection.
        """
        missing = messages * len(self._counters)
        while missing:
            events = self._poll.poll(_STALLED)
            if not events:
                raise ProtocolError(f"{missing} messages have not come")
            for descriptor, _ in events:
                sock, counter = self._counters[descriptor]
                data = sock.recv(_READ_SIZE)
                if not data:
                    raise ProtocolError("the server has closed a connection")
                missing -= counter.feed(data)

    def close(self) -> None:
        """Stop listening; the connections stay open."""
        self._poll.close()
