"""A server whose callback holds the interpreter's lock: `python blocking_process.py SECONDS`.

Prints its port. On the text "hold" the callback broadcasts "begun", keeps the lock in native code
for that long, and sends "done". It serves until its standard input ends, and prints its log.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import TYPE_CHECKING

from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler

if TYPE_CHECKING:
    from handy_ws import WebSocketManager, WebSocketTextMessage


class Holding(WebSocketMessageHandler):
    """Holds the lock."""

    manager: WebSocketManager

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        self.manager.broadcast("begun")
        # Unlike CDLL, PyDLL keeps the lock during the call.
        ctypes.PyDLL(None).usleep(int(float(sys.argv[1]) * 1e6))
        message.connection.send_text("done")


def main() -> None:
    """Serve until the input ends."""
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)
    handler = Holding()
    with HttpServer(WebSocketHandler(handler), ServerConfig(port=0)) as server:
        handler.manager = server.websocket_manager
        print(server.address[1], flush=True)
        sys.stdin.read()
    print(server.websocket_manager.stats())


if __name__ == "__main__":
    main()
