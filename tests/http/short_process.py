"""A server in a process of its own, to be run short of what it needs: see test_shortage.py.

It prints its port and then obeys its standard input, line by line: `few` leaves three descriptors
to open, `many` leaves all, and a number is that of the bytes beyond which no file may grow.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from handy_ws import (
    FileHandler,
    HttpRequestContext,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

FEW = 3


class Echo(WebSocketMessageHandler):
    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)


def measure(context: HttpRequestContext) -> None:
    """Answer with the length of the body."""
    context.response.data = str(len(context.request.get_data()))


def descriptors() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


def fill_gaps() -> int:
    """Close the gaps between the descriptors, and return the first that is free."""
    highest = max(descriptors())
    while (filler := os.dup(0)) < highest:
        pass
    os.close(filler)
    return filler


def allow_descriptors(count: int | None) -> None:
    """Allow the numbers below `count`, or all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if count is None else count, hard))


def obey(word: str) -> None:
    if word == "few":
        allow_descriptors(fill_gaps() + FEW)
    elif word == "many":
        allow_descriptors(None)
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(word), hard))


def main() -> None:
    handler = (
        PathHandler()
        .add("/echo", WebSocketHandler(Echo()))
        .add("/files/<path:path>", FileHandler(sys.argv[1]))
        .add("/body", measure)
    )
    config = ServerConfig(port=0, workers=2, head_timeout=60, keep_alive_timeout=60)
    with HttpServer(handler, config) as server:
        print(server.address[1], flush=True)
        # Not by the file object, which reads ahead.
        while word := sys.stdin.readline().strip():
            obey(word)
            print("done", flush=True)


def start_short() -> None:
    """Start a server with ever more descriptors, until it starts; then it serves."""
    server = HttpServer(measure, ServerConfig(port=0, workers=2))
    first_free = fill_gaps()
    before = descriptors()
    for count in range(20):
        allow_descriptors(first_free + count)
        with suppress(OSError):
            server.start_in_thread()
            break
        allow_descriptors(None)
        assert descriptors() == before
        assert threading.active_count() == 1, threading.enumerate()
    allow_descriptors(None)
    with socket.create_connection(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    server.stop()
    print(count, flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        start_short()
    else:
        main()
