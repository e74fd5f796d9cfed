"""Waiting for sockets, and being woken by other threads.

A thin layer over epoll that knows connections. Only the acceptor adds to it. Workers may take a
connection out, just before they close it or give it away; the order of the steps in `forget` makes
that safe while the acceptor does the same.

The standard library's `selectors` returns all events at once, and thousands of clients that send
something at the same moment would keep a new one waiting until each of them had its turn. Here a
turn is short, whatever happens. It also costs half as much.

Waking a thread that sleeps costs a system call and a switch, so `wake` does nothing while it is
awake anyway: it looks at what others have left for it before it goes to sleep.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import Reception
    from handy_ws.http.connection import Connection
    from handy_ws.http.listener import Listener
    from handy_ws.http.stream import Stream

__all__ = ["READ", "WRITE", "Happened", "Interrupt", "Poller", "wait_for_room"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
#: The most connections that are dealt with in one turn, before new ones and work for the workers.
_MOST: Final = 64


def wait_for_room(sock: Stream, timeout: float) -> bool:
    """Wait at most `timeout` seconds until a socket takes more, or is dead; say whether it does."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(timeout * 1000))


class Interrupt:
    """Ends the waits of other threads, once and for all.

    Attributes:
        is_set: whether it has; nobody should begin to wait then.
    """

    def __init__(self) -> None:
        """Make one. It is readable when it is set.

        Raises:
            OSError: out of descriptors.
        """
        self._reader, self._writer = socket.socketpair()
        self.is_set = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader.fileno()

    def set(self) -> None:
        """End all waits, and those that begin later."""
        if not self.is_set:
            self.is_set = True
            self._writer.send(b"\0")

    def close(self) -> None:
        """Release the descriptors, without a word to a process that has copies of them."""
        self.is_set = True
        self._reader.close()
        self._writer.close()


class Happened(NamedTuple):
    """What has ended the sleep of a `Poller`."""

    #: Those for which something happened; some of them if these are very many.
    connections: list[Connection]
    #: Whether it is to be seen if new ones can be accepted.
    can_accept: bool
    #: Whether something has happened in the reception.
    stirs: bool


class Poller:
    """The set of sockets that the acceptor waits for."""

    def __init__(self, reception: Reception) -> None:
        """Make a set without connections.

        Args:
            reception: waits for clients that have made no request yet, and is waited for itself.

        Raises:
            OSError: out of descriptors; nothing is left open then.
        """
        self._asleep = False
        self._connections: dict[int, Connection] = {}
        self._listening = -1
        self._reader, self._writer = socket.socketpair()
        try:
            self._reader.setblocking(False)
            self._writer.setblocking(False)
            self._epoll = select.epoll()
        except OSError:
            self._reader.close()
            self._writer.close()
            raise
        self._epoll.register(self._reader, READ)
        self._reception = reception.fileno()
        self._epoll.register(self._reception, READ)

    def listen(self, listener: Listener) -> None:
        """Wait for new connections, too."""
        self._epoll.register(listener, READ)
        self._listening = listener.fileno()

    def ignore(self, listener: Listener) -> None:
        """Wait for new connections no longer."""
        self._listening = -1
        self._epoll.unregister(listener)

    def connections(self) -> list[Connection]:
        """Return all connections that are watched."""
        return list(self._connections.values())

    def watch(self, connection: Connection, interest: int) -> None:
        """Wait for `connection` to become readable (`READ`) or writable (`WRITE`)."""
        if connection.interest == interest:
            return
        descriptor = connection.sock.fileno()
        if connection.interest:
            self._epoll.modify(descriptor, interest)
        else:
            self._epoll.register(descriptor, interest)
            self._connections[descriptor] = connection
        connection.interest = interest

    def forget(self, connection: Connection) -> None:
        """Wait for `connection` no longer. Workers call this, too, for what is theirs."""
        if connection.interest:
            descriptor = connection.sock.fileno()
            # Of two threads one gets it. Nobody registers the number again in the meantime: the
            # acceptor alone does that, and it is one of the two or not here.
            if descriptor >= 0 and self._connections.pop(descriptor, None) is not None:
                # The other thread may have closed it by now, and then it is out already.
                with suppress(OSError):
                    self._epoll.unregister(descriptor)
            connection.interest = 0

    def wait(self, timeout: float | None, has_work: Callable[[], object]) -> Happened:
        """Sleep until something happens.

        Args:
            timeout: for this many seconds at most; None: without a limit.
            has_work: asked last of all; if it says yes there is no sleep.
        """
        # In this order: whoever leaves work after the question sees that it has to wake.
        self._asleep = True
        events = self._epoll.poll(0 if has_work() else timeout, _MOST)
        self._asleep = False
        connections: list[Connection] = []
        # If there may be more, new connections do not wait until it is their turn.
        can_accept = len(events) == _MOST and self._listening >= 0
        stirs = False
        for descriptor, _ in events:
            connection = self._connections.get(descriptor)
            if connection is not None:
                connections.append(connection)
            elif descriptor == self._listening:
                can_accept = True
            elif descriptor == self._reception:
                stirs = True
            else:
                with suppress(BlockingIOError):
                    self._reader.recv(4096)
        return Happened(connections, can_accept, stirs)

    def wake(self, *, surely: bool = False) -> None:
        """End the sleep of `wait`; `surely` ends even one that is about to begin."""
        if self._asleep or surely:
            self._asleep = False
            # A full buffer wakes as well; a closed socket has nobody to wake.
            with suppress(OSError):
                self._writer.send(b"\0")

    def close(self) -> None:
        """Release the descriptors."""
        self._epoll.close()
        self._reader.close()
        self._writer.close()
