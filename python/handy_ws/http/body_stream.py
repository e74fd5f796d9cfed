"""Request bodies that a handler reads while they come.

As a rule a body is whole before the handler runs, so that no worker waits for a slow client. A
handler that says so gets the body as a stream instead: it runs as soon as the head is there, and a
read blocks its worker until something has come. What the acceptor does for other bodies happens
here then: the framing is undone, the limits are kept, and nothing behind the end of the body is
touched. Only the time that a read waits counts against the client; a handler may take its time.

A client that asks first (``Expect: 100-continue``) is told to go on by the first read. A handler
that answers without reading has refused the body, and the client need not send it.
"""

from __future__ import annotations

import io
import math
import select
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    RequestTimeout,
    ServiceUnavailable,
    default_exceptions,
)

from handy_ws.http.head import BadRequest
from handy_ws.http.pace import Pace, period_of
from handy_ws.http.response import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws.config import ServerConfig
    from handy_ws.http.acceptor import Acceptor
    from handy_ws.http.body import RequestBody
    from handy_ws.http.connection import Connection

__all__ = ["BodyStream"]

_NO_SIGPIPE: Final = getattr(socket, "MSG_NOSIGNAL", 0)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_READ: Final = 64 * 1024
#: How much of a body that the handler has not read is read at its end, if it is there, in bytes.
_FINISH: Final = 256 * 1024
#: How long reads wait until another worker works in the place of theirs, in seconds.
_PATIENCE: Final = 0.1


class BodyTooSlowError(RequestTimeout, TimeoutError):
    """The client falls behind the minimum rate, or pauses for too long: 408."""


class BodyCutOffError(ClientDisconnected, ConnectionError):
    """The client has closed the connection before the end of the body: 400."""


class BodyStream(io.RawIOBase):
    """The body of one request, for the worker that runs its handler.

    Reads raise a werkzeug `HTTPException` when the rest of the body cannot be had, and so does
    each further attempt: 400 for malformed chunks and if the client is gone (then it is a
    `ConnectionError`, too), 408 if it is too slow (a `TimeoutError`, too), 413 for too many bytes,
    503 if the server stops.
    """

    def __init__(  # noqa: PLR0913 - they have names
        self,
        connection: Connection,
        body: RequestBody,
        acceptor: Acceptor,
        config: ServerConfig,
        *,
        asks_first: bool,
        on_long_wait: Callable[[], bool],
    ) -> None:
        """Make a stream of which nothing is read.

        Args:
            connection: where the body comes from. What it has received already is used first, and
                what comes behind the body is left there.
            body: undoes the framing.
            acceptor: has the connection in its poller, and interrupts when the server stops.
            config: the limits.
            asks_first: whether the client waits for a 100 (Continue).
            on_long_wait: called when reads have waited for a tenth of a second in all, and again
                and again until it returns True.
        """
        super().__init__()
        self._connection = connection
        self._body = body
        self._acceptor = acceptor
        self._on_long_wait = on_long_wait
        self._patience = _PATIENCE
        self._pace = Pace.of_body(config)
        self._period = self._until_look = period_of(config)
        # Who has begun to send does not wait for our word: RFC 9110 section 10.1.1.
        self._asks_first = asks_first and not connection.received
        self._pieces: deque[bytes | bytearray | memoryview] = deque()
        self._is_whole = False
        self._is_over = False
        self._failure: HTTPException | None = None
        body.sink = self._pieces.append

    # For the handler

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill a part of `buffer`, and block until that is possible; return 0 at the end."""
        while not self._pieces:
            if self._is_over:
                raise ValueError("the request is over, its body cannot be read any more")
            if self._is_whole:
                return 0
            self._guarded(self._go_on)
        piece = memoryview(self._pieces.popleft())
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        return count

    # For the server

    def finish(self) -> bool:
        """Throw away what nobody has read, as far as it is there; say whether that was all."""
        left = _FINISH
        try:
            while left > 0 and not (self._is_whole or self._asks_first):
                left -= self._guarded(self._receive)
                self._pieces.clear()
        except (BlockingIOError, HTTPException):
            pass
        return self._is_whole

    def begin_answer(self, *, reads_on: bool) -> bool:
        """Send no 100 any more, and say whether another request can follow the response.

        Args:
            reads_on: whether the body may be read while the response goes out.
        """
        is_whole = self._is_whole if reads_on else self.finish()
        self._asks_first = False
        return is_whole

    def end(self) -> None:
        """Let nobody read any more: the connection goes on to something else."""
        self._is_over = True
        self._pieces.clear()

    # Receiving

    def _guarded(self, step: Callable[[], int]) -> int:
        """Take a step, unless one has failed: nothing is read behind an error."""
        if self._failure is not None:
            raise self._failure
        try:
            return step()
        except HTTPException as failure:
            self._failure = failure
            self._pieces.clear()
            raise

    def _go_on(self) -> int:
        """Wait until something has come, and take it."""
        self._check_stop()
        if self._asks_first:
            self._asks_first = False
            self._send(_CONTINUE)
        while True:
            try:
                return self._receive()
            except BlockingIOError:
                self._wait(select.POLLIN)

    def _receive(self) -> int:
        """Take what has come, and return how much that was.

        Raises:
            BlockingIOError: nothing has.
            HTTPException: nothing more can come.
        """
        connection = self._connection
        data = connection.received or self._recv()
        connection.received = b""
        try:
            rest = self._body.feed(data)
        except BadRequest as error:
            raise _failure(default_exceptions[error.status], error.reason) from error
        if rest is not None:
            self._is_whole = True
            connection.received = rest
        return len(data)

    def _recv(self) -> bytes:
        try:
            data = self._connection.sock.recv(_READ)
        except BlockingIOError:
            raise
        except OSError:
            data = b""
        if not data:
            raise _failure(BodyCutOffError, "the connection was closed within the request body")
        return data

    def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._connection.sock.send(data, _NO_SIGPIPE) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError:
                raise _failure(BodyCutOffError, "the client is gone") from None

    def _wait(self, event: int) -> None:
        """Block until the socket is ready, or until it is time to look at the client's pace."""
        if self._until_look <= 0:
            # All that had come is counted, since the socket was empty just now.
            self._until_look = self._period
            if not self._pace.keeps_up(self._body.size):
                raise _failure(BodyTooSlowError, "the request body comes too slowly")
        self._acceptor.forget(self._connection)
        self._check_stop()
        sock = self._connection.sock
        poll = select.poll()
        poll.register(sock.fileno(), event | select.POLLOUT if sock.unsent else event)
        poll.register(self._acceptor.interrupt.fileno(), select.POLLIN)
        begun = monotonic()
        poll.poll(math.ceil(min(self._patience, self._until_look) * 1000))
        waited = monotonic() - begun
        self._until_look -= waited
        self._patience -= waited
        if self._patience <= 0:
            self._patience = math.inf if self._on_long_wait() else _PATIENCE
        if sock.unsent:
            self._flush()

    def _check_stop(self) -> None:
        if self._acceptor.interrupt.is_set:
            raise _failure(ServiceUnavailable, "the server stops")

    def _flush(self) -> None:
        """Send what the stream has taken from us, or has to say itself, as far as there is room."""
        try:
            self._connection.sock.flush()
        except BlockingIOError:
            pass
        except OSError:
            raise _failure(BodyCutOffError, "the client is gone") from None


def _failure(kind: type[HTTPException], reason: str) -> HTTPException:
    """Make an exception that is answered like all refusals of the server: with one line."""
    return kind(reason, HttpResponse(f"{reason}\n", kind.code, mimetype="text/plain"))
