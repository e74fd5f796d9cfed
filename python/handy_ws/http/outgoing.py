"""A response on its way out: bytes at hand, and an iterator that yields the rest.

It is sent piece by piece without ever blocking; when the socket is full it simply stops and can be
resumed by anybody who owns the connection then.
"""

from __future__ import annotations

import logging
import socket
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from handy_ws.http.stream import in_flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws.http.pace import Pace
    from handy_ws.http.stream import Stream

__all__ = ["Framing", "NotYet", "Outgoing", "PeerGone", "Then", "close_quietly"]

_logger = logging.getLogger("handy_ws")

_NO_SIGPIPE: Final = getattr(socket, "MSG_NOSIGNAL", 0)
#: The most that one send() is given, so that a huge body cannot hold a thread in the kernel.
_SLICE: Final = 256 * 1024
_DONE: Final = bytes(bytearray(b"the end"))


class NotYet(Exception):  # noqa: N818 - no error, either
    """The iterator of a response has no part at the moment: its handler has not returned yet."""


class PeerGone(Exception):  # noqa: N818 - an event of the network, not an error
    """The client has closed or reset the connection, so the response cannot be sent."""


class Then(Enum):
    """What becomes of the connection when the response is out."""

    KEEP_ALIVE = auto()
    #: It was a 100 (Continue): the request has a body yet to come.
    READ_BODY = auto()
    CLOSE = auto()
    #: Close, but first read what the client still sends, so that it gets to see the response.
    LINGER = auto()


class Framing(Enum):
    """How the end of the body is marked."""

    EMPTY = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


class Outgoing:
    """A response on its way out.

    Attributes:
        then: what becomes of the connection afterwards.
        status: the status code; 0 if this is no final response.
        progress: how many bytes the stream has taken.
        pace: how the client keeps up, if it has ever been waited for.
    """

    __slots__ = (
        "_bound",
        "_close",
        "_framing",
        "_left",
        "_overhead",
        "_parts",
        "_pending",
        "pace",
        "progress",
        "status",
        "then",
    )

    def __init__(self, head: bytes, then: Then, status: int = 0, body: bytes = b"") -> None:
        """Make a response that consists of `head` and `body`; `add_body` adds to it."""
        self.then = then
        self.progress = 0
        self.pace: Pace | None = None
        self.status = status
        self._pending: bytes | memoryview = head + body if body else head
        self._overhead = len(head)
        self._parts: Iterator[bytes] | None = None
        self._framing = Framing.EMPTY
        self._left = 0
        self._bound = False
        self._close: Callable[[], None] | None = None

    def add_body(self, parts: Iterator[bytes] | None, framing: Framing, length: int = 0) -> None:
        """Say where the body comes from and how it is framed.

        Args:
            parts: yields the body; None if it is part of the head's bytes already.
            framing: how the end is marked.
            length: for `Framing.LENGTH` the length that the head promises, in bytes.
        """
        self._parts = parts
        self._framing = framing
        self._left = length

    def begin_body(self) -> None:
        """Send the first part of the body together with the head, in one go.

        Raises:
            Exception: whatever the iterator raises.
        """
        head = self._pending
        if self._parts is not None:
            self._refill(self._parts)
            self._pending = b"".join((head, self._pending))

    def on_close(self, close: Callable[[], None]) -> None:
        """Have `close` called when the response is over, whichever way it ends."""
        self._close = close

    def bind(self) -> None:
        """Say that this thread makes all parts and calls what `on_close` has been given.

        It does that when there are no more parts: what is left then are bytes.
        """
        self._bound = True
        if self._parts is None:
            self._release()

    @property
    def is_bound(self) -> bool:
        """Whether no other thread can go on with it."""
        return self._bound and self._parts is not None

    @property
    def body_sent(self) -> int:
        """How many bytes of the body have been sent, without what marks chunks."""
        return max(0, self.progress - self._overhead)

    def delivered(self, sock: Stream) -> int:
        """Return how many bytes have got to the client, as far as the system knows."""
        return self.progress - sock.unsent - in_flight(sock)

    def flush(self, sock: Stream, budget: int = 2**63) -> bool:
        """Send what is at hand. Runs no code of the program.

        Args:
            sock: the stream.
            budget: stop after about so many bytes.

        Returns:
            Whether all that was at hand has been sent; what the stream has taken and not sent
            counts as at hand.

        Raises:
            PeerGone: the client is no longer there.
        """
        pending = self._pending
        try:
            if sock.unsent:
                sock.flush()
            while pending and not sock.unsent:
                sent = sock.send(
                    pending if len(pending) <= _SLICE else memoryview(pending)[:_SLICE],
                    _NO_SIGPIPE,
                )
                self.progress += sent
                if sent == len(pending):
                    pending = self._pending = b""
                    break
                # A view, since copying the rest each time would be quadratic.
                pending = self._pending = memoryview(pending)[sent:]
                budget -= sent
                if budget <= 0:
                    return False
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise PeerGone from error
        return not pending and not sock.unsent

    def pump(self, sock: Stream) -> bool:
        """Send all that the client takes now, taking from the iterator as needed.

        Returns:
            Whether the response is complete; False if the socket is full.

        Raises:
            PeerGone: the client is no longer there.
            Exception: whatever the iterator raises. After `NotYet`, it can be called again.
        """
        while self.flush(sock):
            if self._parts is None:
                return True
            self._refill(self._parts)
        return False

    def close(self) -> None:
        """Release the iterator and whatever belongs to the response. Never raises."""
        self._pending = b""
        self._release_parts()
        self._release()

    def _refill(self, parts: Iterator[bytes]) -> None:
        # Nothing is asked for beyond the length: a file may have grown in the meantime.
        complete = self._framing is Framing.LENGTH and not self._left
        part = _DONE if complete else next(parts, _DONE)
        if part is _DONE:
            self._end()
        elif not isinstance(part, bytes):
            msg = f"a response must yield bytes, not {type(part).__name__}"
            raise TypeError(msg)
        elif self._framing is Framing.CHUNKED:
            # An empty chunk would be the last one.
            self._pending = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            self._overhead += len(self._pending) - len(part)
        elif self._framing is Framing.LENGTH:
            self._pending = part[: self._left]
            self._left -= len(self._pending)
            if not self._left:
                self._end()
        else:
            self._pending = part

    def _end(self) -> None:
        if self._framing is Framing.CHUNKED:
            self._pending = b"0\r\n\r\n"
            self._overhead += len(self._pending)
        elif self._left:
            msg = f"a response lacks {self._left} bytes of its Content-Length"
            raise ValueError(msg)
        self._release_parts()
        if self._bound:
            self._release()

    def _release_parts(self) -> None:
        parts, self._parts = self._parts, None
        close_quietly(getattr(parts, "close", None))

    def _release(self) -> None:
        close, self._close = self._close, None
        close_quietly(close)


def close_quietly(close: Callable[[], object] | None) -> None:
    """Call `close`, if there is one, and log what it raises."""
    if close is not None:
        try:
            close()
        except Exception:
            _logger.exception("closing a response failed")
