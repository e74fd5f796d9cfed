"""The echo server that the conformance suite talks to.

It takes a free port and prints it, which is all that `run.py` wants to know. The suite's largest
message is 16 MiB, in 65,536 fragments; there is room for more, so that no limit of ours is tested.
With compression even the shortest message is compressed: the suite has cases of 16 bytes.
"""

import argparse
import signal
import threading
from contextlib import suppress

from handy_ws import (
    CompressionConfig,
    HttpServer,
    ServerConfig,
    WebSocketBinaryMessage,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

MAX_MESSAGE_SIZE = 64 * 1024 * 1024
COMPRESSION = {
    "none": None,
    "no-takeover": CompressionConfig(threshold=0),
    "takeover": CompressionConfig(threshold=0, context_takeover=True),
}


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
    parser = argparse.ArgumentParser(description="The conformance suite's echo server.")
    parser.add_argument("--compression", choices=COMPRESSION, default="none")
    websocket = WebSocketConfig(
        max_message_size=MAX_MESSAGE_SIZE,
        send_queue_limit=MAX_MESSAGE_SIZE,
        slow_callback_warning=None,  # whatever is on stderr is a failure
        compression=COMPRESSION[parser.parse_args().compression],
    )
    config = ServerConfig(port=0, websocket=websocket)
    # A shell lets its background jobs ignore SIGINT, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with HttpServer(WebSocketHandler(Echo()), config) as server, suppress(KeyboardInterrupt):
        print(server.address[1], flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
