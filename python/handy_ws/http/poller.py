"""Waiting for sockets, and being woken by other threads.

A thin layer over the epoll of the core's `Reception` that knows connections: while the acceptor
sleeps here the core accepts clients, and wakes it for those that it has to answer. Only the
acceptor adds to it. Workers may take a connection out, just before they close it or give it away;
the order of the steps in `forget` makes that safe while the acceptor does the same.

However many clients send something at the same moment, a new one does not wait until each of them
had its turn: a sleep tells of some of them.

Waking a thread that sleeps costs a system call and a switch, so `wake` does nothing while it is
awake anyway: it looks at what others have left for it before it goes to sleep.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import Arrival, Reception
    from handy_ws.http.connection import Connection
    from handy_ws.http.listener import Listener
    from handy_ws.http.stream import Stream

__all__ = ["READ", "WRITE", "Happened", "Interrupt", "Poller", "wait_for_room"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT


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
    #: Whether clients wait at a listener that is `watched <Poller.watch_listener>`.
    can_accept: bool
    #: Why the core can accept no more at the moment.
    shortage: OSError | None


class Poller:
    """The set of sockets that the acceptor waits for."""

    def __init__(self, reception: Reception, lets_in: Callable[[], bool]) -> None:
        """Make a set without connections.

        Args:
            reception: waits, and takes care of clients that have made no request yet.
            lets_in: whether it may let them in through gates.

        Raises:
            OSError: out of descriptors; nothing is left open then.
        """
        self._asleep = False
        self._connections: dict[int, Connection] = {}
        self._watched_listener = -1
        self._reception = reception
        self._lets_in = lets_in
        self._reader, self._writer = socket.socketpair()
        try:
            self._reader.setblocking(False)
            self._writer.setblocking(False)
            reception.register(self._reader.fileno(), READ)
        except OSError:
            self._reader.close()
            self._writer.close()
            raise

    def listen(self, listener: Listener) -> None:
        """Have the core accept clients."""
        self._reception.listen(listener.fileno(), listener.is_unix)

    def watch_listener(self, listener: Listener) -> None:
        """Tell if clients wait at a listener: whoever waits here accepts them."""
        self._reception.register(listener.fileno(), READ)
        self._watched_listener = listener.fileno()

    def ignore(self, listener: Listener) -> None:
        """Leave new clients alone."""
        if self._watched_listener >= 0:
            self._watched_listener = -1
            self._reception.unregister(listener.fileno())
        else:
            self._reception.ignore()

    def connections(self) -> list[Connection]:
        """Return all connections that are watched."""
        return list(self._connections.values())

    def watch(self, connection: Connection, interest: int) -> None:
        """Wait for `connection` to become readable (`READ`) or writable (`WRITE`)."""
        if connection.interest == interest:
            return
        descriptor = connection.sock.fileno()
        if connection.interest:
            self._reception.modify(descriptor, interest)
        else:
            self._reception.register(descriptor, interest)
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
                    self._reception.unregister(descriptor)
            connection.interest = 0

    def wait(
        self, timeout: float | None, has_work: Callable[[], object], arrivals: list[Arrival]
    ) -> Happened:
        """Sleep until something happens.

        Args:
            timeout: for this many seconds at most; None: without a limit.
            has_work: asked last of all; if it says yes there is no sleep.
            arrivals: where clients are added that the core gives to whoever waits.
        """
        ready: list[int] = []
        # In this order: whoever leaves work after the question sees that it has to wake.
        self._asleep = True
        shortage = self._reception.turn(
            monotonic(), 0.0 if has_work() else timeout, self._lets_in, ready, arrivals
        )
        self._asleep = False
        connections: list[Connection] = []
        can_accept = False
        for descriptor in ready:
            connection = self._connections.get(descriptor)
            if connection is not None:
                connections.append(connection)
            elif descriptor == self._watched_listener:
                can_accept = True
            else:
                with suppress(BlockingIOError):
                    self._reader.recv(4096)
        return Happened(connections, can_accept, shortage)

    def wake(self, *, surely: bool = False) -> None:
        """End the sleep of `wait`; `surely` ends even one that is about to begin."""
        if self._asleep or surely:
            self._asleep = False
            # A full buffer wakes as well; a closed socket has nobody to wake.
            with suppress(OSError):
                self._writer.send(b"\0")

    def close(self) -> None:
        """Release the descriptors; the reception is its owner's."""
        self._reader.close()
        self._writer.close()
