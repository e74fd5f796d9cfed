"""An echo server: text comes back as text, binary as binary.

Run it, and talk to it from a second terminal:

    python examples/echo.py
    python -m websockets ws://127.0.0.1:8080
"""

import argparse

from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketBinaryMessage,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)


class Echo(WebSocketMessageHandler):
    """Sends every message back to the connection it came from."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text in, text out."""
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Bytes in, bytes out."""
        message.connection.send_binary(message.payload)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Send every WebSocket message back.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    with HttpServer(WebSocketHandler(Echo()), config) as server:
        print(f"Echoing at ws://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
