"""A handy_ws server that sends back, passes on to everybody, or just takes what it gets."""

from __future__ import annotations

import argparse
import queue
import threading
from typing import TYPE_CHECKING

from handy_ws import (
    CompressionConfig,
    HttpServer,
    ServerConfig,
    TlsConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import WebSocketBinaryMessage, WebSocketManager, WebSocketTextMessage

_SHORT = 4096
#: No limit that matters: 16 messages of 1 MiB may be on their way to a client.
SEND_QUEUE_LIMIT = 64 << 20


class Echo(WebSocketMessageHandler):
    """Sends every message back."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text in, text out."""
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Bytes in, bytes out."""
        message.connection.send_binary(message.payload)


class Sink(WebSocketMessageHandler):
    """Sends short texts back, and drops long ones."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Answer what is short."""
        payload = message.payload
        if len(payload) <= _SHORT:
            message.connection.send_text(payload)


class Everybody(WebSocketMessageHandler):
    """Sends every message to all connections."""

    manager: WebSocketManager

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text in, broadcast out."""
        self.manager.broadcast(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """The same with bytes."""
        self.manager.broadcast(message.payload)


class FromThread(WebSocketMessageHandler):
    """Has another thread send every message to all connections."""

    manager: WebSocketManager

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[str | bytes] = queue.SimpleQueue()
        threading.Thread(target=self._pass_on, daemon=True).start()

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Leave it to the thread."""
        self._messages.put(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """The same with bytes."""
        self._messages.put(message.payload)

    def _pass_on(self) -> None:
        while True:
            message = self._messages.get()
            self.manager.broadcast(message)  # there is none before the server listens


HANDLERS: dict[str, Callable[[], WebSocketMessageHandler]] = {
    "echo": Echo,
    "sink": Sink,
    "broadcast": Everybody,
    "broadcast-from-thread": FromThread,
}


def spin() -> None:
    """Run without a pause."""
    while True:
        pass


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--does", choices=list(HANDLERS), default="echo")
    parser.add_argument("--spin", action="store_true", help="have a thread run without a pause")
    parser.add_argument("--compress", action="store_true", help="agree on permessage-deflate")
    parser.add_argument("--level", type=int)
    parser.add_argument("--context-takeover", action="store_true", default=None)
    parser.add_argument("--window-bits", type=int)
    parser.add_argument("--ping-interval", type=float, default=20.0, help="in seconds")
    parser.add_argument("--certificate", help="to speak TLS, with a private key")
    parser.add_argument("--private-key")
    arguments = vars(parser.parse_args())
    files = arguments.pop("certificate"), arguments.pop("private_key")
    does, compress = arguments.pop("does"), arguments.pop("compress")
    if arguments.pop("spin"):
        threading.Thread(target=spin, daemon=True).start()
    ping_interval = arguments.pop("ping_interval")
    given = {name: value for name, value in arguments.items() if value is not None}
    compression = CompressionConfig(**given) if compress else None
    websocket = WebSocketConfig(
        compression=compression,
        ping_interval=ping_interval,
        send_queue_limit=SEND_QUEUE_LIMIT,
    )
    config = ServerConfig(port=0, tls=TlsConfig(*files) if files[0] else None, websocket=websocket)
    handler = HANDLERS[does]()
    with HttpServer(WebSocketHandler(handler), config) as server:
        if isinstance(handler, (Everybody, FromThread)):
            handler.manager = server.websocket_manager
        print(server.address[1], flush=True)
        server.wait()


if __name__ == "__main__":
    main()
