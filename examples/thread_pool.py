"""Slow work belongs in a thread pool. The answer is sent from there, whenever it is ready.

    python examples/thread_pool.py
    python -m websockets ws://127.0.0.1:8080        # type a few passwords, quickly

Every line typed is run through scrypt, which is slow on purpose. Done in
`on_text_message` it would delay the callbacks of every other client. Four workers take turns
instead, so answers may overtake one another: each says which question it belongs to.

What it does not do: limit how many questions one client may ask. The pool's queue is unbounded.
"""

import argparse
import hashlib
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
    """Hands every text message to the pool and is ready for the next at once."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Only queue the work: this thread serves all connections."""
        self._pool.submit(self._answer, message.connection, message.payload)

    def _answer(self, connection: WebSocketConnection, password: str) -> None:
        """Work, then send. On a pool thread."""
        digest = slow_hash(password)
        try:
            connection.send_text(f"{password}: {digest}")
        except ConnectionClosed:
            print(f"#{connection.id} did not wait for its answer", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM; finish the work that has begun, drop what waits."""
    parser = argparse.ArgumentParser(description="Hash passwords in a thread pool.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    pool = ThreadPoolExecutor(max_workers=4)
    with HttpServer(WebSocketHandler(Hasher(pool)), config) as server:
        print(f"Hashing at ws://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()
    pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
