"""A server that notes each request as its handler gets it, and a client that sends it a stream."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import socket
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from handy_ws import HttpRequestHandler, HttpServer, ServerConfig

from tests.http.differential import limits
from tests.http.differential.ours import seen
from tests.http.differential.outcome import End, Expected, Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequest, HttpRequestContext

    from tests.http.differential.streams import Stream

_DEADLINE: Final = 60.0  # seconds
_HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]+\r\n((?:[!-9;-~]+: [^\r\n]*\r\n)*)\r\n")
_LENGTH: Final = re.compile(rb"Content-Length: ([0-9]+)\r\n")

#: A server answers this one itself.
_OPTIONS: Final = Request(b"OPTIONS", b"*", b"", (), b"")


class Way(Enum):
    """How a handler takes the bodies of requests."""

    WHOLE = "whole"  # it is called when a body has come
    STREAMED = "streamed"  # it reads the body as it comes, a little at a time
    UNREAD = "unread"  # it could, but answers at once


class Note(HttpRequestHandler):
    """Notes each request, by the port of its client."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.stream_body = way is not Way.WHOLE
        self.requests: dict[int, list[Request]] = {}

    def handle(self, context: HttpRequestContext) -> None:
        _, port = context.source.remote_address
        self.requests.setdefault(port, []).append(seen(context.head, self._body(context.request)))

    def _body(self, request: HttpRequest) -> bytes:
        match self.way:
            case Way.WHOLE:
                return request.get_data()
            case Way.STREAMED:
                return b"".join(iter(functools.partial(request.stream.read, 7), b""))
            case Way.UNREAD:
                return b""


class Servers:
    """A server for each way to take bodies, with the limits that are compared."""

    def __init__(self) -> None:
        config = ServerConfig(
            port=0,
            workers=2,
            max_head_size=limits.MAX_HEAD_SIZE,
            max_header_count=limits.MAX_HEADER_COUNT,
            max_body_size=limits.MAX_BODY_SIZE,
            head_timeout=_DEADLINE,
            keep_alive_timeout=_DEADLINE,
            body_timeout=_DEADLINE,
        )
        self._handlers = {way: Note(way) for way in Way}
        self.servers = {way: HttpServer(note, config) for way, note in self._handlers.items()}

    def begin(self, stream: Stream, way: Way = Way.WHOLE) -> Exchange:
        """Send a stream, without waiting for what comes of it."""
        return Exchange(self.servers[way].address, stream, self._handlers[way].requests)

    def play(self, stream: Stream, way: Way = Way.WHOLE) -> Outcome:
        """Send a stream and return what comes of it."""
        return self.begin(stream, way).finish()


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """Start the servers, and stop them after the block."""
    servers = Servers()
    with contextlib.ExitStack() as stack:
        for server in servers.servers.values():
            stack.enter_context(server)
        yield servers


class Exchange:
    """A connection over which one stream goes."""

    def __init__(
        self, address: tuple[str, int], stream: Stream, requests: dict[int, list[Request]]
    ) -> None:
        self._requests = requests
        self._sock = socket.create_connection(address, timeout=_DEADLINE)
        self._port = self._sock.getsockname()[1]
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edges = [0, *stream.cuts, len(stream.data)]
        # A server that has enough closes.
        with contextlib.suppress(OSError):
            for begin, end in pairwise(edges):
                self._sock.sendall(stream.data[begin:end])
            self._sock.shutdown(socket.SHUT_WR)

    def finish(self) -> Outcome:
        """Wait for the server to close, and return what has come of the stream."""
        received = bytearray()
        with self._sock, contextlib.suppress(ConnectionResetError):
            while data := self._sock.recv(65536):
                received += data
        noted = self._requests.pop(self._port, [])
        return outcome_of(bytes(received), noted)


def outcome_of(received: bytes, noted: list[Request]) -> Outcome:
    """Return what a server's answers, and the requests that its handler got, amount to."""
    requests: list[Request] = []
    waiting = iter(noted)
    end, at = End.COMPLETE, 0
    while at < len(received):
        assert end is End.COMPLETE, "an answer behind the last one"
        head = _HEAD.match(received, at)
        assert head is not None, received[at:]
        length = _LENGTH.search(head[2])
        at = head.end() + (int(length[1]) if length else 0)
        status = int(head[1])
        if status == 100:
            continue
        closes = b"\r\nConnection: close\r\n" in head[0]
        if status not in {200, 204}:
            assert closes
            assert next(waiting, None) is None, "a request behind the last answer"
            return Outcome(tuple(requests), End.REFUSED, status)
        requests.append(next(waiting) if status == 200 else _OPTIONS)
        end = End.CLOSED if closes else End.COMPLETE
    assert next(waiting, None) is None, "a request behind the last answer"
    assert at == len(received)
    return Outcome(tuple(requests), end)


def is_expected(outcome: Outcome, expected: Expected, way: Way) -> bool:
    """Whether a server does what is expected, as far as that can be seen from outside.

    It cannot be seen whether something was left over when the client had sent all. A handler that
    reads its body is told of the end, and its client gets 400. One that does not is called for the
    request, too, whose body is cut short or refused; of that one the first line is compared. The
    server itself is such a handler: it answers "OPTIONS *", and reads no body that could be
    streamed.
    """
    requests = tuple(
        _OPTIONS if request.target == b"*" else request for request in expected.requests
    )
    if way is Way.UNREAD:
        requests = tuple(dataclasses.replace(request, body=b"") for request in requests)
        return _is_beginning(outcome.requests, requests, expected)
    ends, statuses = set(expected.ends), set(expected.statuses)
    if End.INCOMPLETE in ends:
        ends.add(End.COMPLETE)
        if way is Way.STREAMED:
            ends.add(End.REFUSED)
            statuses.add(400)
    if Expected(requests, frozenset(ends), frozenset(statuses)).allows(outcome):
        return True
    answered_itself = outcome.requests[-1:] == (_OPTIONS,) and outcome.end is End.CLOSED
    return (
        way is Way.STREAMED
        and answered_itself
        and _is_beginning(outcome.requests, requests, expected)
    )


def _is_beginning(
    found: tuple[Request, ...], requests: tuple[Request, ...], expected: Expected
) -> bool:
    """Whether a server that reads no body may have been closed behind these requests.

    It closes a connection behind a response if the body is still to come then.
    """
    if requests[: len(found)] == found:
        return True
    is_whole = expected.ends <= {End.COMPLETE, End.CLOSED}
    begun = expected.begun in (None, (found[-1].method, found[-1].target))
    return requests == found[:-1] and begun and not is_whole
