"""Every byte that is no printable ASCII, at every place of a handshake.

One byte too many has ended whole servers (granian's CVE-2026-42544). So each of them is inserted
before, and put in the place of, each byte of the head, all over real sockets. What the answer has
to be is known for each of these requests.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler

from tests.websocket.handshakes import FIELDS, REQUEST_LINE, ask_all, handshake, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import WebSocketConnection

FOREIGN_BYTES = [*range(0x20), *range(0x7F, 0x100)]

ALL_FIELDS = (
    *FIELDS,
    "Sec-WebSocket-Protocol: v1, v2",
    "Sec-WebSocket-Extensions: ab, cd; ef=gh",
    "Origin: http://a",
    "Cookie: a=b",
    "X: y",
)
EMPTY_LINE = ""

_TOKEN = r"[a-z0-9]+"
_LIST = r"{0}(?:[ \t]*,[ \t]*{0})*"

# The values that are accepted among the spoiled ones, and the status that refuses the others.
VALUES = {
    "host": (r"a", 400),
    "upgrade": (r"websocket", 426),
    "connection": (r"Upgrade", 400),
    "sec-websocket-key": (r"[A-Za-z0-9]{22}==", 400),
    "sec-websocket-version": (r"13", 426),
    "sec-websocket-protocol": (_LIST.format(_TOKEN), 400),
    "sec-websocket-extensions": (
        _LIST.format(rf"{_TOKEN}(?:[ \t]*;[ \t]*{_TOKEN}(?:[ \t]*=[ \t]*{_TOKEN})?)?"),
        400,
    ),
    "origin": (r"http://a", 403),
    "cookie": (r"[\t -~\x80-\xff]*", 400),
    "x": (r"[\t -~\x80-\xff]*", 400),
}


class Counter(WebSocketMessageHandler):
    """Counts the connections that have begun and ended."""

    established = closed = errors = 0

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        assert connection.close_cause is None
        self.established += 1

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        assert connection.close_cause is not None
        self.closed += 1

    def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
        print(connection, exception)
        self.errors += 1


class Case(NamedTuple):
    """A request, and the status that answers it."""

    request: bytes
    status: int


def cases(line: str) -> Iterator[Case]:
    """Spoil one line of a handshake, the line end included, in every way."""
    others = [field for field in ALL_FIELDS if name_of(field) != name_of(line)]
    whole = handshake(*others, line) if ":" in line else handshake(*others)
    begin = whole.rindex(f"{line}\r\n".encode())
    for at in range(begin, begin + len(line) + len("\r\n")):
        for byte in FOREIGN_BYTES:
            for after in (at, at + 1):
                request = whole[:at] + bytes([byte]) + whole[after:]
                if request != whole:
                    # A LF behind the whole head is no part of it.
                    is_whole = request.startswith(whole)
                    status = 101 if is_whole else status_of(line, request[begin:])
                    # A head whose end was spoiled gets another one.
                    yield Case(request if b"\r\n\r\n" in request else request + b"\r\n\r\n", status)


def status_of(line: str, spoiled: bytes) -> int:
    """Say what answers a request that ends with a spoiled line and what is behind it."""
    text, _, behind = spoiled.decode("latin-1").partition("\r\n")
    name, colon, value = text.partition(":")
    if not colon or name != line.partition(":")[0] or behind[:1] in {"\t", "\n"}:
        return 400
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        return 400
    accepted, otherwise = VALUES[name.lower()]
    return 101 if re.fullmatch(rf"[ \t]*(?:{accepted})[ \t]*", value) else otherwise


@pytest.mark.parametrize("line", [REQUEST_LINE, *ALL_FIELDS, EMPTY_LINE])
def test_every_byte_at_every_place_is_answered(line: str, caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter()
    spoiled = list(cases(line))
    # With few threads: they would only wait for one another.
    with HttpServer(WebSocketHandler(counter), ServerConfig(port=0, workers=2)) as server:
        statuses = ask_all(server.address, [case.request for case in spoiled])
        assert ask_all(server.address, [handshake(*ALL_FIELDS)]) == [101], "it works afterwards"
    wrong = [
        (case.request, case.status, status)
        for case, status in zip(spoiled, statuses, strict=True)
        if status != case.status
    ]
    assert wrong[:3] == []
    accepted = statuses.count(101) + 1
    assert server.websocket_manager.stats().connections_total == accepted
    assert (counter.established, counter.closed, counter.errors) == (accepted, accepted, 0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_cases_are_as_many_as_they_should_be() -> None:
    counts = {line: len(list(cases(line))) for line in [REQUEST_LINE, *ALL_FIELDS, EMPTY_LINE]}
    # Every byte is inserted before each, and replaces each; only CR and LF replace themselves.
    places = {line: len(f"{line}\r\n") for line in counts}
    assert counts == {line: 2 * len(FOREIGN_BYTES) * places[line] - 2 for line in counts}
    assert sum(places.values()) == len(handshake(*ALL_FIELDS))
