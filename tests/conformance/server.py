"""The echo server that the conformance suite talks to.

It takes a free port and prints it, which is all that `run.py` wants to know. The suite's largest
message is 16 MiB, in 65,536 fragments; there is room for more, so that no limit of ours is tested.
"""

import threading
from contextlib import suppress

from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketBinaryMessage,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

MAX_MESSAGE_SIZE = 64 * 1024 * 1024


class Echo(WebSocketMessageHandler):
    """Sends every message back as it came."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text for text."""
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Bytes for bytes."""
        message.connection.send_binary(message.payload)


def main() -> None:
    """Serve until SIGINT."""
    config = ServerConfig(port=0, websocket=WebSocketConfig(max_message_size=MAX_MESSAGE_SIZE))
    with HttpServer(WebSocketHandler(Echo()), config) as server, suppress(KeyboardInterrupt):
        print(server.address[1], flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
