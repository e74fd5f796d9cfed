"""Keep connections and send to them later, from another thread: a clock for everybody.

    python examples/saved_connections.py
    python -m websockets ws://127.0.0.1:8080

A connection may be kept for as long as you like and used from any thread. Forget it in
`on_connection_closed`, which comes exactly once; a send that is too late raises `ConnectionClosed`.
"""

import argparse
import threading
import time
from contextlib import suppress

from handy_ws import (
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
)


class Clock(WebSocketMessageHandler):
    """Remembers since when each client has been here.

    The callbacks all run on the server's one WebSocket thread and need no lock among themselves.
    The lock is there for the ticking thread, which reads what they write.
    """

    def __init__(self) -> None:
        self._since: dict[WebSocketConnection, float] = {}
        self._lock = threading.Lock()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Save the connection."""
        with self._lock:
            self._since[connection] = time.monotonic()

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Forget it."""
        with self._lock:
            del self._since[connection]

    def tick(self) -> None:
        """Tell every client how long it has been here. Runs on a thread of our own."""
        with self._lock:
            since = list(self._since.items())  # send without the lock: nobody waits for us
        for connection, start in since:
            with suppress(ConnectionClosed):  # it left a moment ago, which is no error
                connection.send_text(f"You have been here for {time.monotonic() - start:.0f} s.")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM, ticking once a second."""
    parser = argparse.ArgumentParser(description="Send to saved connections from another thread.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    clock = Clock()
    stopped = threading.Event()

    def tick_until_stopped() -> None:
        while not stopped.wait(1.0):
            clock.tick()

    with HttpServer(WebSocketHandler(clock), config) as server:
        threading.Thread(target=tick_until_stopped, name="clock", daemon=True).start()
        print(f"Ticking at ws://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()
    stopped.set()


if __name__ == "__main__":
    main()
