"""Handshakes line by line, and how to have them answered: many at once, or without a socket."""

from __future__ import annotations

import re
import select
import socket
from typing import TYPE_CHECKING, NamedTuple

from handy_ws import HttpRequestContext, HttpServer, ServerConfig
from handy_ws.http.head import BadRequest, RequestSource, parse_head

from tests.websocket.raw_websocket import KEY, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handy_ws import WebSocketConfig, WebSocketHandler

REQUEST_LINE = "GET / HTTP/1.1"

FIELDS = (
    "Host: a",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)

_WIDTH = 32  # connections of `ask_all` at a time
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t -~]+\r\n")
_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")


def handshake(*fields: str, start: str = REQUEST_LINE, without: Iterable[str] = ()) -> bytes:
    """Return a valid handshake with these fields in the place of its own of the same names."""
    replaced = {name_of(field) for field in fields} | {name.lower() for name in without}
    kept = [field for field in FIELDS if name_of(field) not in replaced]
    return "\r\n".join([start, *kept, *fields, "", ""]).encode("latin-1")


def name_of(field: str) -> str:
    return field.partition(":")[0].lower()


class Answer(NamedTuple):
    """What a handler has answered, without the body."""

    status: int
    fields: list[tuple[str, str]]

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


class Unconnected:
    """A handler of a server that has not been started: a function from heads to answers."""

    def __init__(self, handler: WebSocketHandler, websocket: WebSocketConfig | None = None) -> None:
        config = ServerConfig() if websocket is None else ServerConfig(websocket=websocket)
        self._handler = handler
        self._server = HttpServer(handler, config)

    def answer(self, head: bytes) -> Answer:
        """Parse a head and let the handler decide. What else is raised is a fault."""
        try:
            parsed = parse_head(head)
        except BadRequest as error:
            return Answer(error.status, [])
        source = RequestSource(head, ("127.0.0.1", 1), ("127.0.0.1", 2))
        context = HttpRequestContext(self._server, parsed, source, None, lambda *_: None)
        response = self._handler.handle(context)
        if response is not None:
            return Answer(response.status_code, response.headers.to_wsgi_list())
        upgrade = context.chosen_upgrade
        assert upgrade is not None
        return Answer(101, list(upgrade.headers))


def ask_all(address: tuple[str, int], requests: Iterable[bytes]) -> list[int]:
    """Send each request over a connection of its own, and return the statuses.

    Each must be answered with a whole response before the deadline, which is renewed by every
    event, and what the server says it closes must come to an end.
    """
    poll = select.epoll()
    todo = iter(enumerate(requests))
    asking: dict[int, _Asking] = {}
    statuses: dict[int, int] = {}

    def ask_next() -> None:
        for number, request in todo:
            connection = _Asking(address, number, request)
            asking[connection.socket.fileno()] = connection
            poll.register(connection.socket, select.EPOLLIN)
            return

    with poll:
        for _ in range(_WIDTH):
            ask_next()
        while asking:
            events = poll.poll(PATIENCE)
            assert events, [connection.request for connection in asking.values()]
            for fd, _ in events:
                status = asking[fd].read()
                if status:
                    connection = asking.pop(fd)
                    statuses[connection.number] = status
                    connection.socket.close()
                    ask_next()
    return [statuses[number] for number in range(len(statuses))]


class _Asking:
    """A request that waits for its answer."""

    def __init__(self, address: tuple[str, int], number: int, request: bytes) -> None:
        self.number = number
        self.request = request
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.sendall(request)
        self._received = b""

    def read(self) -> int:
        """Read what has come, and return the status once the response is whole, 0 before."""
        data = self.socket.recv(65536)
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            assert data, (self.request, self._received)
            return 0
        line = _STATUS_LINE.match(head + b"\r\n")
        assert line is not None, (self.request, self._received)
        status = int(line[1])
        if status == 101:
            return status
        length = _LENGTH.search(head + b"\r\n")
        assert length is not None, (self.request, self._received)
        if len(body) < int(length[1]):
            assert data, (self.request, self._received)
            return 0
        is_last = b"\r\nConnection: close" in head
        if is_last and data:
            return 0  # until the server's FIN
        assert len(body) == int(length[1]), (self.request, self._received)
        return status
