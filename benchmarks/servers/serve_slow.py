"""A handy_ws server for clients of which some never read: `slow`, `jam`, `fill`, `stats`.

A connection that says ``slow`` will not read what it is sent. ``jam`` sends half of the limit to
each of these for which nothing waits, and answers with their number: when it is 0, the system takes
nothing more for them. ``fill`` sends each of them messages of its own, twice what its queue may
hold, a part of it each time; ``stats`` answers with the counters. Any other text goes to everybody.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from handy_ws import (
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

if TYPE_CHECKING:
    from handy_ws import WebSocketConnection, WebSocketManager, WebSocketTextMessage

_LARGE = 64 * 1024
_SMALL = 1024


class Handler(WebSocketMessageHandler):
    """Does what a text says."""

    manager: WebSocketManager

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sends = 0
        self._slow: list[WebSocketConnection] = []

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Broadcast, or do what is asked for."""
        match message.payload:
            case "slow":
                self._slow.append(message.connection)
                self._answer(message, "noted")
            case "jam":
                self._answer(message, str(self._jam()))
            case "fill":
                for connection in self._slow:
                    self._send(connection, _SMALL, self._limit // 8)
                self._answer(message, "filled")
            case "stats":
                stats = dataclasses.asdict(self.manager.stats())
                stats["sends"] = self._sends
                self._answer(message, json.dumps(stats))
            case payload:
                self.manager.broadcast(payload)

    def _answer(self, message: WebSocketTextMessage, text: str) -> None:
        self._sends += 1
        message.connection.send_text(text)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Forget it."""
        with suppress(ValueError):
            self._slow.remove(connection)

    def _jam(self) -> int:
        ready = [connection for connection in self._slow if connection.buffered_bytes == 0]
        for connection in ready:
            self._send(connection, _LARGE, self._limit // 2)
        return len(ready)

    def _send(self, connection: WebSocketConnection, size: int, total: int) -> None:
        payload = bytes(min(size, total))
        with suppress(ConnectionClosed):
            for _ in range(total // len(payload)):
                connection.send_binary(payload)
                self._sends += 1


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=("close", "drop_newest", "drop_oldest"))
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    handler = Handler(arguments.limit)
    websocket = WebSocketConfig(
        send_queue_limit=arguments.limit,
        slow_consumer=arguments.policy,
        write_timeout=None,  # those who never read are to stay
        ping_interval=None,
    )
    with HttpServer(WebSocketHandler(handler), ServerConfig(port=0, websocket=websocket)) as server:
        handler.manager = server.websocket_manager
        print(server.address[1], flush=True)
        server.wait()


if __name__ == "__main__":
    main()
