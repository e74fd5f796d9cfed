"""However a connection ends, an executor's callbacks of it are complete and in order."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.websocket.raw_websocket import TEXT, RawWebSocket, frame, request_head
from tests.websocket.recorder import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.websocket.conftest import Serve


class Keeper(WebSocketMessageHandler):
    """Checks the order of what happens to each connection, while all sorts of things happen."""

    def __init__(self) -> None:
        self.seen: dict[int, list[str]] = {}  # by the number in the path
        self.faults: list[str] = []
        self.closed = threading.Semaphore(0)
        self._inside: set[int] = set()

    @contextlib.contextmanager
    def _callback(self, what: str, connection: WebSocketConnection) -> Iterator[None]:
        number = int(connection.request.path[1:])
        if number in self._inside:
            self.faults.append(f"{what} overlaps")
        self._inside.add(number)
        self.seen.setdefault(number, []).append(what)
        time.sleep(random.random() / 2000)
        try:
            with contextlib.suppress(ConnectionClosed):
                yield
        finally:
            self._inside.discard(number)

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        with self._callback("established", connection):
            connection.send_text("hello")

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        with self._callback(message.payload, message.connection):
            message.connection.send_text(message.payload)
            if message.payload == "close":
                message.connection.close(4000)
            if message.payload == "fail":
                raise ZeroDivisionError

    def on_close_message(self, message: Any) -> None:
        with self._callback("close message", message.connection):
            message.connection.send_text("goodbye")

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        with self._callback("closed", connection):
            if connection.close_cause is None:
                self.faults.append("no cause")
        self.closed.release()


#: Those of the ways to end after which the system may forget what has come.
RESETS = {1, 2, 7}


def end_somehow(client: RawWebSocket, number: int) -> None:
    """End a connection in one of eight ways."""
    match number % 8:
        case 0:
            client.send_close(1000)
        case 1:
            client.reset()
        case 2:
            client.socket.close()
        case 3:
            client.send(frame(3))
        case 4:
            client.send_text("close")
            client.read_until_close()
        case 5:
            client.send_text("fail")
            client.read_until_close()
        case 6:
            client.send_close(1000)
            client.read_until_close()
        case 7:
            client.send(b"\x81")
            client.reset()


@pytest.mark.parametrize("workers", [1, 8])
def test_established_is_first_and_closed_last_and_once_however_it_ends(
    serve: Serve, workers: int
) -> None:
    handler, count = Keeper(), 400
    with ThreadPoolExecutor(workers) as pool:
        server = serve(WebSocketHandler(handler, executor=pool))
        for number in range(count):
            client = RawWebSocket(server.address)
            client.send(request_head(f"/{number}") + frame(TEXT, b"0") + frame(TEXT, b"1"))
            if number % 3:
                assert client.read_response_head()[0] == 101
            elif number % 8 in {4, 5, 6}:
                client.read_response_head()
            end_somehow(client, number)
            client.socket.close()
        for _ in range(count):
            assert handler.closed.acquire(timeout=PATIENCE)
        server.stop()
    assert handler.faults == []
    assert len(handler.seen) == count
    for number, seen in handler.seen.items():
        assert seen[0] == "established"
        assert seen[-1] == "closed"
        assert sorted(set(seen)) == sorted(seen), "nothing twice"
        digits = [what for what in seen if what.isdigit()]
        assert digits == ["0", "1"][: len(digits)], "in order"
        if number % 8 not in RESETS:
            assert digits == ["0", "1"], "all that came"
