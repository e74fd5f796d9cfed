"""A handler that notes what happens to it, for a test to wait for."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

from handy_ws import WebSocketMessageHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import (
        WebSocketBinaryMessage,
        WebSocketCloseMessage,
        WebSocketConnection,
        WebSocketTextMessage,
    )

PATIENCE = 20.0

Event = tuple[str, Any]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again, since nobody tells."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Recorder(WebSocketMessageHandler):
    """Puts ``(kind, value)`` on ``events`` for every callback."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        self.events.put(("established", connection))

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        self.events.put(("text", message.payload))

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        self.events.put(("binary", message.payload))

    def on_close_message(self, message: WebSocketCloseMessage) -> None:
        self.events.put(("close", (message.code, message.reason)))

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self.events.put(("closed", connection))

    def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
        self.events.put(("error", (connection, exception)))

    def next(self, kind: str) -> Any:
        """Return the value of the next event, which must be of this kind."""
        found, value = self.events.get(timeout=PATIENCE)
        assert found == kind, (found, value)
        return value

    def wait_for(self, kind: str) -> Any:
        """Return the value of the next event of this kind, passing over others."""
        while True:
            found, value = self.events.get(timeout=PATIENCE)
            if found == kind:
                return value


class Echo(WebSocketMessageHandler):
    """Answers every message with itself."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        message.connection.send_binary(message.payload)
