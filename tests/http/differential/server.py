"""A server that notes each request as its handler gets it, and a client that sends it a stream."""

from __future__ import annotations

import contextlib
import re
import socket
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from handy_ws import HttpServer, ServerConfig

from tests.http.differential import limits
from tests.http.differential.ours import seen
from tests.http.differential.outcome import End, Expected, Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext

    from tests.http.differential.streams import Stream

_DEADLINE: Final = 60.0  # seconds
_HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]+\r\n((?:[!-9;-~]+: [^\r\n]*\r\n)*)\r\n")
_LENGTH: Final = re.compile(rb"Content-Length: ([0-9]+)\r\n")

#: A server answers this one itself.
_OPTIONS: Final = Request(b"OPTIONS", b"*", b"", (), b"")


class Servers:
    """One server, with the limits that are compared."""

    def __init__(self) -> None:
        self._requests: dict[int, list[Request]] = {}  # by the client's port
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
        self.server = HttpServer(self._note, config)

    def _note(self, context: HttpRequestContext) -> None:
        _, port = context.source.remote_address
        body = context.request.get_data()
        self._requests.setdefault(port, []).append(seen(context.head, body))

    def begin(self, stream: Stream) -> Exchange:
        """Send a stream, without waiting for what comes of it."""
        return Exchange(self.server.address, stream, self._requests)

    def play(self, stream: Stream) -> Outcome:
        """Send a stream and return what comes of it."""
        return self.begin(stream).finish()


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """Start a server, and stop it after the block."""
    servers = Servers()
    with servers.server:
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


def over_sockets(expected: Expected) -> Expected:
    """Return as much of an expectation as can be seen from outside.

    Whether something was left over when the client had sent all cannot.
    """
    requests = tuple(
        _OPTIONS if request.target == b"*" else request for request in expected.requests
    )
    ends = frozenset(End.COMPLETE if end is End.INCOMPLETE else end for end in expected.ends)
    return Expected(requests, ends, expected.statuses)
