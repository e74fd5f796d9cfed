"""Responses: from werkzeug's `Response` to bytes, sent as fast as the client takes them.

`Answers` renders heads and decides the framing (RFC 9112 section 6): Content-Length where the
length is known, chunked otherwise, and for HTTP/1.0 the end of the connection. What results is an
`Outgoing`: the bytes at hand and the iterator that yields the rest. It is sent piece by piece
without ever blocking; when the socket is full it simply stops and can be resumed by anybody who
owns the connection then.

No header line is sent that is not exactly one line: a CR, LF or NUL in a name, a value or the
status raises before the first byte has left.
"""

from __future__ import annotations

import logging
import socket
import time
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from werkzeug.wrappers import Response as HttpResponse

from handy_ws.http.fields import WITHOUT_BODY, complete_fields, connection_options, render
from handy_ws.http.stream import in_flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead
    from handy_ws.http.pace import Pace
    from handy_ws.http.stream import Stream

__all__ = ["Answers", "BoundResponse", "HttpResponse", "NotYet", "Outgoing", "PeerGone", "Then"]

_logger = logging.getLogger("handy_ws")

_NO_SIGPIPE: Final = getattr(socket, "MSG_NOSIGNAL", 0)
#: The most that one send() is given, so that a huge body cannot hold a thread in the kernel.
_SLICE: Final = 256 * 1024
#: Fields that belong to the server, because they follow from the framing it chooses.
_OURS: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})

_DONE: Final = bytes(bytearray(b"the end"))


class BoundResponse(HttpResponse):
    """A response that belongs to the thread of its handler: no other makes its parts or closes it.

    Attributes:
        is_bound: False if any thread will do after all, as it does for other responses.
        has_begun: whether the first part of the body is there, and need not be waited for.
    """

    is_bound = True
    has_begun = False


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


class _Framing(Enum):
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
        self._framing = _Framing.EMPTY
        self._left = 0
        self._bound = False
        self._close: Callable[[], None] | None = None

    def add_body(self, parts: Iterator[bytes] | None, framing: _Framing, length: int = 0) -> None:
        """Say where the body comes from and how it is framed.

        Args:
            parts: yields the body; None if it is part of the head's bytes already.
            framing: how the end is marked.
            length: for `_Framing.LENGTH` the length that the head promises, in bytes.
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
        complete = self._framing is _Framing.LENGTH and not self._left
        part = _DONE if complete else next(parts, _DONE)
        if part is _DONE:
            self._end()
        elif not isinstance(part, bytes):
            msg = f"a response must yield bytes, not {type(part).__name__}"
            raise TypeError(msg)
        elif self._framing is _Framing.CHUNKED:
            # An empty chunk would be the last one.
            self._pending = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            self._overhead += len(self._pending) - len(part)
        elif self._framing is _Framing.LENGTH:
            self._pending = part[: self._left]
            self._left -= len(self._pending)
            if not self._left:
                self._end()
        else:
            self._pending = part

    def _end(self) -> None:
        if self._framing is _Framing.CHUNKED:
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
        _call(getattr(parts, "close", None))

    def _release(self) -> None:
        close, self._close = self._close, None
        _call(close)


def _call(close: Callable[[], object] | None) -> None:
    if close is not None:
        try:
            close()
        except Exception:
            _logger.exception("closing a response failed")


class Answers:
    """Renders responses for one server."""

    def __init__(self, default_headers: Mapping[str, str]) -> None:
        """Make the renderer.

        Args:
            default_headers: fields for every response that does not set them itself.
        """
        self._defaults = {"server": ("Server", "handy_ws")}
        for name, value in default_headers.items():
            self._defaults[name.lower()] = (name, value)
        self._second = -1
        self._date = ""

    def upgrade(self, headers: Sequence[tuple[str, str]]) -> bytes:
        """Render a 101 response with exactly `headers`.

        Raises:
            ValueError: a name or value cannot be sent.
        """
        return render("101 Switching Protocols", headers)

    def error(self, status: int, reason: str, *, has_body: bool = True) -> Outgoing:
        """Make a whole response that ends the connection.

        Args:
            status: the status code.
            reason: its body, one line.
            has_body: False to leave the body out, as the answer to HEAD.
        """
        body = f"{reason}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        head = self._head(f"{status} {HTTPStatus(status).phrase}", headers, "close")
        return Outgoing(head, Then.LINGER, status, body if has_body else b"")

    def outgoing(
        self, context: HttpRequestContext, response: HttpResponse, *, keep_alive: bool
    ) -> Outgoing:
        """Turn a response into bytes to be sent.

        Args:
            context: the request that is answered.
            response: what the handler made of it.
            keep_alive: whether the connection may persist as far as the server is concerned.

        Raises:
            ValueError: a header field or the status cannot be sent.
        """
        head = context.head
        fields, values = complete_fields(context, response)
        headers = [field for field in fields if field[0].lower() not in _OURS]
        framing, length = _framing_of(response, head, values.get("content-length"))
        if framing is _Framing.CHUNKED:
            headers.append(("Transfer-Encoding", "chunked"))
        options = connection_options(fields) if "connection" in values else set()
        if framing is _Framing.UNTIL_CLOSE or "close" in options:
            keep_alive = False
        # A client that would have kept the connection may have sent more already.
        then = Then.KEEP_ALIVE if keep_alive else Then.LINGER if head.keeps_alive else Then.CLOSE
        options -= {"close", "keep-alive"}
        if not keep_alive:
            options |= {"close"}
        elif head.version == "1.0":
            options |= {"keep-alive"}
        status = response.status_code
        start = self._head(response.status, headers, ", ".join(sorted(options)))
        if framing is _Framing.EMPTY:
            outgoing = Outgoing(start, then, status)
        elif framing is _Framing.LENGTH and response.is_sequence:
            body = b"".join(response.iter_encoded())
            if len(body) != length:
                msg = f"the Content-Length is {length}, but the response has {len(body)} bytes"
                raise ValueError(msg)
            outgoing = Outgoing(start, then, status, body)
        else:
            outgoing = Outgoing(start, then, status)
            outgoing.add_body(_body_parts(response), framing, length)
            if isinstance(response, BoundResponse) and response.has_begun:
                outgoing.begin_body()
        return outgoing

    def _head(self, status: str, headers: list[tuple[str, str]], connection: str) -> bytes:
        present = {name.lower() for name, _ in headers}
        for lowered, field in self._defaults.items():
            if lowered not in present:
                headers.append(field)
        if "date" not in present:
            headers.append(("Date", self._now()))
        if connection:
            headers.append(("Connection", connection))
        return render(status, headers)

    def _now(self) -> str:
        """Return the time in the form of RFC 9110 section 5.6.7, formatted once a second."""
        now = int(time.time())
        if now != self._second:
            # In this order: another thread may see the new date a moment early, no harm done.
            self._date = formatdate(now, usegmt=True)
            self._second = now
        return self._date


def _framing_of(
    response: HttpResponse, head: RequestHead, content_length: str | None
) -> tuple[_Framing, int]:
    status = response.status_code
    if status < 200:  # noqa: PLR2004
        msg = f"{response.status!r} is not the status of a final response"
        raise ValueError(msg)
    if head.method == "HEAD" or status in WITHOUT_BODY:
        return _Framing.EMPTY, 0
    if content_length is not None:
        if not content_length.isascii() or not content_length.isdigit():
            msg = f"a response has the invalid Content-Length {content_length!r}"
            raise ValueError(msg)
        return _Framing.LENGTH, int(content_length)
    return (_Framing.CHUNKED if head.version == "1.1" else _Framing.UNTIL_CLOSE), 0


def _body_parts(response: HttpResponse) -> Iterator[bytes]:
    if response.direct_passthrough:
        return iter(response.response)  # type: ignore[arg-type]
    return response.iter_encoded()
