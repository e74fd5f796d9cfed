"""What the HTTP side reads and writes: the part of a socket that it uses, and a little more.

A stream never blocks. What it has taken may still be on its way to the socket, as with TLS, where
a record goes out as a whole or not at all: `unsent` says how much that is, and `flush` sends it.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Final, TypeAlias

from handy_ws._core import TlsStream

if TYPE_CHECKING:
    from typing import Self

    from _typeshed import HasFileno

__all__ = ["PlainStream", "Stream", "break_off", "in_flight"]


#: Tells Python that a descriptor is nonblocking, where the system knows such a type.
_NONBLOCK: Final = getattr(socket, "SOCK_NONBLOCK", 0)


class PlainStream(socket.socket):
    """A nonblocking TCP socket. It takes what the system takes, so nothing is ever left."""

    __slots__ = ()

    #: Bytes that were taken and wait for the socket; as long as there are any, it is full.
    unsent = 0
    #: Whether the client has said in another way than by a FIN that nothing more comes from it.
    has_ended = False

    @classmethod
    def take(cls, descriptor: int, family: int) -> Self:
        """Make one of a nonblocking socket that somebody gives away, without asking the system."""
        stream = cls(family, socket.SOCK_STREAM | _NONBLOCK, 0, descriptor)
        if not _NONBLOCK:
            stream.setblocking(False)
        return stream

    def flush(self) -> int:
        """Send what is `unsent`, and return how many bytes went out."""
        return 0


Stream: TypeAlias = PlainStream | TlsStream


def break_off(stream: Stream) -> None:
    """Shut a connection down that another thread uses, in the middle of what it sends.

    A session is not told. It would say that nothing is missing: a close_notify.
    """
    with (
        suppress(OSError),
        socket.socket(fileno=os.dup(stream.fileno())) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)


def in_flight(stream: HasFileno) -> int:
    """Return how many bytes the system has taken that have not got to the peer.

    That may be megabytes, and only when a good part of them has gone does it say that there is
    room again. A unix socket tells in steps of some ten thousand bytes, and counts what it needs
    to keep them, too. On systems that do not tell, this is 0.
    """
    try:
        answer = ioctl(stream.fileno(), TIOCOUTQ, bytes(4))  # SIOCOUTQ: tcp(7), unix(7)
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)
