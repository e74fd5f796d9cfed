"""Waiting for sockets, and being woken by other threads.

A thin layer over `selectors` (epoll on Linux) that knows connections. Only the acceptor adds to
it. Workers may take a connection out, just before they close it or give it away; the order of the
steps in `forget` makes that safe while the acceptor does the same.

Waking a thread that sleeps costs a system call and a switch, so `wake` does nothing while it is
awake anyway: it looks at what others have left for it before it goes to sleep.
"""

from __future__ import annotations

import select
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from handy_ws.http.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws.http.listener import Listener
    from handy_ws.http.stream import Stream

__all__ = ["READ", "WRITE", "Interrupt", "Poller", "wait_for_room"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


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


class Poller:
    """The set of sockets that the acceptor waits for."""

    def __init__(self) -> None:
        """Make an empty set.

        Raises:
            OSError: out of descriptors; nothing is left open then.
        """
        self._asleep = False
        self._reader, self._writer = socket.socketpair()
        try:
            self._reader.setblocking(False)
            self._writer.setblocking(False)
            self._selector = selectors.DefaultSelector()
        except OSError:
            self._reader.close()
            self._writer.close()
            raise
        self._selector.register(self._reader, READ)

    def listen(self, listener: Listener) -> None:
        """Wait for new connections, too."""
        self._selector.register(listener, READ, listener)

    def ignore(self, listener: Listener) -> None:
        """Wait for new connections no longer."""
        self._selector.unregister(listener)

    def connections(self) -> list[Connection]:
        """Return all connections that are watched."""
        keys = self._selector.get_map().values()
        return [key.data for key in keys if isinstance(key.data, Connection)]

    def watch(self, connection: Connection, interest: int) -> None:
        """Wait for `connection` to become readable (`READ`) or writable (`WRITE`)."""
        if connection.interest != interest:
            change = self._selector.modify if connection.interest else self._selector.register
            change(connection.sock.fileno(), interest, connection)
            connection.interest = interest

    def forget(self, connection: Connection) -> None:
        """Wait for `connection` no longer. Workers call this, too, for what is theirs."""
        if connection.interest:
            descriptor = connection.sock.fileno()
            if descriptor >= 0:
                # Of two threads one gets the KeyError. Nobody registers the number again in the
                # meantime: the acceptor alone does that, and it is one of the two or not here.
                with suppress(KeyError):
                    self._selector.unregister(descriptor)
            connection.interest = 0

    def wait(
        self, timeout: float | None, has_work: Callable[[], object]
    ) -> tuple[list[Connection], bool]:
        """Sleep until something happens.

        Args:
            timeout: for this many seconds at most; None: without a limit.
            has_work: asked last of all; if it says yes there is no sleep.

        Returns:
            The connections for which something happened, and whether new ones can be accepted.
        """
        # In this order: whoever leaves work after the question sees that it has to wake.
        self._asleep = True
        events = self._selector.select(0 if has_work() else timeout)
        self._asleep = False
        connections = []
        can_accept = False
        for key, _ in events:
            if isinstance(key.data, Connection):
                connections.append(key.data)
            elif key.data is not None:
                can_accept = True
            else:
                with suppress(BlockingIOError):
                    self._reader.recv(4096)
        return connections, can_accept

    def wake(self, *, surely: bool = False) -> None:
        """End the sleep of `wait`; `surely` ends even one that is about to begin."""
        if self._asleep or surely:
            self._asleep = False
            # A full buffer wakes as well; a closed socket has nobody to wake.
            with suppress(OSError):
                self._writer.send(b"\0")

    def close(self) -> None:
        """Release the descriptors."""
        self._selector.close()
        self._reader.close()
        self._writer.close()
