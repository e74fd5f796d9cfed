"""A stream that has taken more than the socket did: nothing of it is lost, and no deadline."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpResponse, ServerConfig, WebSocketManager
from handy_ws._core import Reception
from handy_ws.http import waiting
from handy_ws.http.connection import Connection, State
from handy_ws.http.outgoing import Outgoing, Then
from handy_ws.http.poller import Poller
from handy_ws.http.response import Answers
from handy_ws.http.stream import PlainStream
from handy_ws.http.waiting import WaitingRoom

from tests.http.raw_http import get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.conftest import Serve

BIG = b"0123456789abcdef" * 65536 * 4  # 4 MiB, many times what a socket holds
GREETING = b"<" + b"-" * 1024 * 1024 + b">"


class Holding(PlainStream):
    """Takes all that it is given, as TLS takes whole records, and holds what does not fit."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._held = b""

    def send(self, data: Any, flags: int = 0) -> int:
        assert not self._held, "it is full: flush() it first"
        self._held = bytes(data)
        self.flush(flags)
        return len(data)

    def flush(self, flags: int = 0) -> int:
        sent = 0
        with suppress(BlockingIOError):
            sent = super().send(self._held, flags)
        self._held = self._held[sent:]
        self.unsent = len(self._held)
        return sent


class Greeting(Holding):
    """Has something to say in the middle of a head, as a TLS session may have."""

    is_new = True

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.is_new:
            self.is_new = False
            self.send(GREETING)
        return super().recv(size, flags)


def parts() -> Iterator[bytes]:
    for at in range(0, len(BIG), 1_000_000):
        yield BIG[at : at + 1_000_000]


@pytest.mark.parametrize("streamed", [False, True], ids=["bytes", "iterator"])
@pytest.mark.parametrize("field", ["Connection: close", "Connection: keep-alive"])
def test_a_slow_reader_gets_every_byte(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, streamed: bool, field: str
) -> None:
    monkeypatch.setattr(waiting, "PlainStream", Holding)
    server = serve(lambda _: HttpResponse(parts() if streamed else BIG), workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get("/", field))
    # No worker waits for it meanwhile.
    assert serve.client(server).get("/").body == BIG
    assert client.response().body == BIG
    if field.endswith("close"):
        assert client.is_closed()
    else:
        assert client.get("/").body == BIG


def test_what_is_unsent_goes_out_while_a_request_is_awaited(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PlainStream", Greeting)
    client = serve.client(serve(lambda _: HttpResponse("hello")), receive_buffer=4096)
    assert client.get().body == b"hello"
    request = get("/")
    client.send(request[:5])
    assert client.until(b">") == GREETING
    client.send(request[5:])
    assert client.response().body == b"hello"
    assert client.get().body == b"hello"


def test_what_is_unsent_is_not_taken_yet_and_what_was_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(waiting, "monotonic", lambda: now)
    ours, theirs = socket.socketpair()
    config = ServerConfig(body_timeout=30.0, rate_grace=30.0, min_send_rate=None)
    manager = WebSocketManager(config.websocket)
    reception = Reception(manager.core, ("", 0), config)
    poller = Poller(reception, lambda: True)
    room = WaitingRoom(config, Answers({}), poller, reception, socket.AF_UNIX)
    with theirs:
        theirs.settimeout(10)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        connection = Connection(Holding(fileno=ours.detach()), ("127.0.0.1", 1))
        connection.outgoing = Outgoing(BIG, Then.CLOSE)
        room.enter(connection, State.WRITING)
        assert room.deadlines.next() == 130

        now = 101.0
        room.on_event(connection)  # it takes a slice, and sends a part of that
        taken = connection.outgoing.progress
        assert 0 < connection.sock.unsent < taken < len(BIG)
        now = 130.0
        room.on_deadline(connection)
        assert room.deadlines.next() == 160  # the longest pause is over now
        received = len(theirs.recv(len(BIG)))
        room.on_event(connection)
        assert connection.outgoing.progress == taken
        now = 160.0
        room.on_deadline(connection)
        assert room.deadlines.next() == 190
        while connection.state is State.WRITING:
            received += len(theirs.recv(len(BIG)))
            room.on_event(connection)
        assert (room.ready, connection.state) == ([connection], State.WRITE_READY)
        assert connection.sock.unsent == 0
        poller.forget(connection)
        connection.close()
        while data := theirs.recv(len(BIG)):
            received += len(data)
        assert received == len(BIG)
    poller.close()
    reception.close()
