"""A printer: it shows what arrives and answers nothing. All five callbacks, in the order they come.

Run it, then connect from a second terminal, type something and leave with Ctrl-D:

    python examples/printer.py
    python -m websockets ws://127.0.0.1:8080

Try also: kill the client with SIGKILL and look at the last line. No close message comes then, but
`on_connection_closed` still does, exactly once.
"""

import argparse

from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketBinaryMessage,
    WebSocketCloseMessage,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)


class Printer(WebSocketMessageHandler):
    """Prints every event of every connection. Override only the callbacks that you need."""

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Comes first, always, before any message."""
        print(f"#{connection.id} connected from {connection.remote_address}", flush=True)

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """`payload` is a `str`."""
        print(f"#{message.connection.id} text: {message.payload!r}", flush=True)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """`payload` is `bytes`."""
        print(f"#{message.connection.id} binary: {message.payload.hex(' ')}", flush=True)

    def on_close_message(self, message: WebSocketCloseMessage) -> None:
        """The peer says goodbye; a last `send_text` would still go out."""
        print(f"#{message.connection.id} says bye: {message.code} {message.reason!r}", flush=True)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Comes last, exactly once, whatever ended the connection."""
        print(f"#{connection.id} closed: {connection.close_cause}", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM.

    Without a choice of ports and a line that tells the address, all of this would be
    `HttpServer(WebSocketHandler(Printer())).start()`.
    """
    parser = argparse.ArgumentParser(description="Print what WebSocket clients send.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    with HttpServer(WebSocketHandler(Printer()), config) as server:
        print(f"Printing at ws://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
