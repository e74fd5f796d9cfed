"""The server of the soak: ``python -m tests.faults.soak.server``.

Prints its port. Then it does what its standard input says, a line at a time, and answers with one
line of JSON: ``stats`` tells how it is, ``stop`` stops the server and tells what it has seen.

The handler is of the kind that programs have: it echoes, and has work that takes a while now and
then; a thread broadcasts, and others send to single connections. Everything sent has a number, so
that the clients see whether anything is lost. The callbacks of the path ``/`` run on the manager's
thread, those of ``/pool`` on an executor.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import json
import logging
import math
import os
import random
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handy_ws import (
    ConnectionClosed,
    HttpServer,
    PathHandler,
    SendResult,
    ServerConfig,
    WebSocketBinaryMessage,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.faults.soak.healthy import FIRST_WORD

if TYPE_CHECKING:
    from collections.abc import Callable

_MS = 1000
SENDERS = 4
WORKERS = 4
TICK = 0.5
CONFIG = WebSocketConfig(
    max_message_size=256 * 1024,
    send_queue_limit=256 * 1024,
    ping_interval=5.0,
    ping_timeout=10.0,
    close_timeout=5.0,
)


@dataclasses.dataclass
class Visit:
    """What the server knows of a connection."""

    word: int = FIRST_WORD
    """The number of what its sender sends to it next; each connection has one sender."""
    is_closed: bool = False


class Deliberate(Exception):  # noqa: N818 - it is none
    """What a client can make the handler raise."""


class SoakHandler(WebSocketMessageHandler):
    """Does what the texts say, and counts."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._native = ctypes.PyDLL(None)  # which keeps the interpreter's lock, unlike CDLL
        self.established = 0
        self.messages = 0
        self.causes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        connection.user_data = Visit()
        with self._lock:
            self.established += 1

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        self._count(message.connection)
        verb, _, rest = message.payload.partition(" ")
        connection = message.connection
        if verb == "echo":
            with contextlib.suppress(ConnectionClosed):
                connection.send_text(message.payload)
        elif verb == "sleep":
            time.sleep(float(rest))
        elif verb == "hold":
            self._native.usleep(int(float(rest) * _MS * _MS))
        elif verb == "flood":
            with contextlib.suppress(ConnectionClosed):
                while connection.send_binary(bytes(8192)) is not SendResult.DROPPED:
                    pass
        elif verb == "close":
            self._pool.submit(connection.close, int(rest))
        elif verb == "raise":
            raise Deliberate

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        self._count(message.connection)
        with contextlib.suppress(ConnectionClosed):
            message.connection.send_binary(message.payload)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self._expect_open(connection)
        connection.user_data.is_closed = True
        assert connection.close_cause is not None
        with self._lock:
            self.causes[connection.close_cause.value] += 1

    def _count(self, connection: WebSocketConnection) -> None:
        self._expect_open(connection)
        with self._lock:
            self.messages += 1

    def _expect_open(self, connection: WebSocketConnection) -> None:
        visit = connection.user_data
        if visit is None or visit.is_closed:
            self.wrong.append(f"connection {connection.id}: {visit}")


def tick(manager: WebSocketManager, stop: threading.Event) -> None:
    """Broadcast a number, again and again."""
    number = 0
    while not stop.wait(TICK):
        manager.broadcast(f"tick {number} " + "x" * 100)
        number += 1


def send_words(manager: WebSocketManager, stop: threading.Event, sender: int) -> None:
    """Send numbers to single connections: to some of those that are this sender's."""
    rng = random.Random(sender)
    while not stop.wait(0.1):
        mine = [each for each in manager.connections if each.id % SENDERS == sender]
        for connection in rng.sample(mine, math.ceil(len(mine) / 50)):
            visit: Visit | None = connection.user_data
            if visit is not None:
                with contextlib.suppress(ConnectionClosed):
                    connection.send_text(f"word {visit.word}")
                    visit.word += 1


class Logged(logging.Filter):
    """Counts log records by their first words, and shows none."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        words = record.getMessage().split(" ")[:2]
        with self._lock:
            self.counts[error.__name__ if error else " ".join(words)] += 1
        return False


def start_all_threads(pool: ThreadPoolExecutor) -> None:
    """Have a pool begin with all its threads; by itself it starts one when none is idle."""
    together = threading.Barrier(WORKERS + 1)
    for _ in range(WORKERS):
        pool.submit(together.wait)
    together.wait()


class MallInfo(ctypes.Structure):
    """mallinfo2(3), since glibc 2.33."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())
    hblkhd: int
    uordblks: int


def give_back(stop: threading.Event) -> None:
    """Give free memory back to the system now and then: see docs/deployment.md."""
    libc = ctypes.CDLL(None)
    while not stop.wait(30.0):
        libc.malloc_trim(0)


def memory_in_use() -> int:
    """Return the bytes that malloc has given out, in all threads: a leak shows in them first."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def state(manager: WebSocketManager, handler: SoakHandler, log: Logged) -> dict[str, Any]:
    return {
        "stats": dataclasses.asdict(manager.stats()),
        "established": handler.established,
        "closed": handler.causes.total(),
        "causes": handler.causes,
        "messages": handler.messages,
        "wrong": handler.wrong[:10],
        "log": log.counts,
        "memory_in_use": memory_in_use(),
        "python_blocks": sys.getallocatedblocks(),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
    }


def serve(server: HttpServer, handler: SoakHandler, log: Logged) -> None:
    """Answer the commands."""
    manager = server.websocket_manager
    stop = threading.Event()
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(tick, (manager, stop))]
    jobs.append((give_back, (stop,)))
    jobs += [(send_words, (manager, stop, sender)) for sender in range(SENDERS)]
    threads = [threading.Thread(target=job, args=arguments) for job, arguments in jobs]
    for thread in threads:
        thread.start()
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        print(json.dumps(state(manager, handler, log)), flush=True)
    stop.set()
    for thread in threads:
        thread.join()
    server.stop()
    print(json.dumps(state(manager, handler, log)), flush=True)


def main() -> None:
    """Serve until the input says stop, or ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log = Logged()
    logging.getLogger("handy_ws").addFilter(log)
    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(WORKERS) as executor:
        start_all_threads(pool)
        start_all_threads(executor)
        handler = SoakHandler(pool)
        paths = PathHandler().add("/", WebSocketHandler(handler))
        paths.add("/pool", WebSocketHandler(handler, executor=executor))
        config = ServerConfig(host="0.0.0.0", port=0, backlog=4096, websocket=CONFIG)  # noqa: S104
        server = HttpServer(paths, config)
        server.start_in_thread()
        print(json.dumps({"port": server.address[1], "pid": os.getpid()}), flush=True)
        serve(server, handler, log)


if __name__ == "__main__":
    main()
