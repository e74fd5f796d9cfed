"""Starts and stops servers with clients, again and again: `python -m tests.life.cycles`.

Prints threads, descriptors and memory as it goes. Of a leak of a kilobyte a cycle, a thousand
cycles leave a megabyte.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handy_ws import HttpServer, ServerConfig, WebSocketHandler

from tests.process import open_descriptors, resident
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import Echo

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS: Final = 4
PATIENCE: Final = 10.0  # seconds


@dataclasses.dataclass(frozen=True)
class Usage:
    """What this process uses."""

    cycles: int
    threads: int
    descriptors: int
    memory: int

    @classmethod
    def after(cls, cycles: int) -> Usage:
        gc.collect()
        deadline = time.monotonic() + PATIENCE
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                # A stop without time may leave one behind that is about to end.
                thread.join(max(0.0, deadline - time.monotonic()))
        threads = sum(1 for _ in Path("/proc/self/task").iterdir())  # also those of Rust
        return cls(cycles, threads, open_descriptors(), resident())

    def __str__(self) -> str:
        return (
            f"{self.cycles:6} cycles {self.threads:4} threads {self.descriptors:4} descriptors"
            f" {self.memory / 1e6:8.2f} MB"
        )


def cycle(server: HttpServer, number: int) -> None:
    """Start the server, end connections in several ways, and stop it with some still open."""
    server.start_in_thread()
    clients = [RawWebSocket.open(server.address) for _ in range(CLIENTS)]
    for client in clients:
        client.send_text("hello")
        assert client.read_text() == "hello"
    server.websocket_manager.broadcast("to all")
    clients[0].send_close()
    clients[0].read_until_close()
    clients[1].reset()
    # Those that are still there do not answer, and are cut off.
    server.stop(0.0 if number % 2 else 0.01)
    for client in clients:
        client.socket.close()


def usages(cycles: int, every: int) -> Iterator[Usage]:
    """Run cycles, on one server and on new ones in turn, and say what is used now and then."""
    kept = HttpServer(WebSocketHandler(Echo()), ServerConfig(port=0, workers=2))
    for number in range(cycles):
        new = HttpServer(WebSocketHandler(Echo()), ServerConfig(port=0, workers=2))
        cycle(new if number % 4 == 0 else kept, number)
        if (number + 1) % every == 0:
            yield Usage.after(number + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    options = parser.parse_args()
    logging.getLogger("handy_ws").setLevel(logging.ERROR)
    begun = time.monotonic()
    for usage in usages(options.cycles, options.every):
        print(usage, f"{time.monotonic() - begun:7.1f} s", flush=True)


if __name__ == "__main__":
    main()
