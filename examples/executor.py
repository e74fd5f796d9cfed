"""Slow callbacks, each client's in order: hash passwords where the questions come in.

    python examples/executor.py

Send any text; its scrypt hash comes back a good part of a second later, with its number. Here the
callbacks themselves run on four threads: the answers of one client come in the order of its
questions, and clients do not wait for one another unless there are more than four. One who asks too
much is not read until its answers have gone out.

What a connection keeps in `user_data` needs no lock, since only one of its callbacks runs at a
time. What all connections share does.
"""

import argparse
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

from handy_ws import (
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)


def slow_hash(password: str) -> str:
    """Take a good part of a second and 32 MiB to make 8 bytes, written in hexadecimal."""
    cost = {"n": 2**15, "r": 8, "p": 5, "maxmem": 2**26}
    return hashlib.scrypt(password.encode(), salt=b"handy", dklen=8, **cost).hex()


class Hasher(WebSocketMessageHandler):
    """Takes its time in the callback."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Begin to count the client's questions."""
        connection.user_data = 0

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Work, then send."""
        connection = message.connection
        digest = slow_hash(message.payload)
        connection.user_data += 1
        with self._lock:
            self._total += 1
        try:
            connection.send_text(f"{connection.user_data}. {message.payload}: {digest}")
        except ConnectionClosed:
            print(f"#{connection.id} did not wait for its answer", flush=True)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Sum up."""
        with self._lock:
            total = self._total
        print(f"#{connection.id}: {connection.user_data} of {total} hashes", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Hash passwords in callbacks on an executor.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    with ThreadPoolExecutor(max_workers=4) as pool:
        handler = WebSocketHandler(Hasher(), executor=pool)
        with HttpServer(handler, config) as server:  # it stops before its executor does
            print(f"Hashing at ws://{server.address[0]}:{server.address[1]}", flush=True)
            server.wait()


if __name__ == "__main__":
    main()
