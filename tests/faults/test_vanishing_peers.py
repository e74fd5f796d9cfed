"""Clients that vanish: their link is dropped, and neither FIN nor reset ever comes."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCause,
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
)

from tests.faults.netns import Namespace
from tests.websocket.answering import Answering
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import PATIENCE, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import WebSocketManager

INTERVAL, TIMEOUT = 1.0, 2.0  # seconds
COUNT = 50

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


@contextlib.contextmanager
def clients_in(namespace: Namespace, port: int) -> Iterator[None]:
    """Run clients in there that answer PINGs."""
    program = Path(__file__).parent / "answering_process.py"
    command = [sys.executable, str(program), namespace.address, str(port), str(COUNT)]
    process = namespace.popen(command)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


@contextlib.contextmanager
def serving(recorder: Recorder, timeout: float = TIMEOUT) -> Iterator[HttpServer]:
    """Run a server on all addresses, so that it is reached from other namespaces."""
    websocket = WebSocketConfig(ping_interval=INTERVAL, ping_timeout=timeout)
    config = ServerConfig(host="0.0.0.0", port=0, websocket=websocket)  # noqa: S104 - see above
    server = HttpServer(WebSocketHandler(recorder), config)
    server.start_in_thread()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("pause", [None, 0.02], ids=["quiet", "broadcasting"])
def test_clients_whose_link_is_dropped_are_closed_in_time(pause: float | None) -> None:
    recorder = Recorder()
    with serving(recorder) as server, Namespace() as namespace:
        port = server.address[1]
        near = RawWebSocket.open(("127.0.0.1", port))
        with clients_in(namespace, port), near, Answering([near]) as answering:
            for _ in range(COUNT + 1):
                recorder.next("established")
            with broadcasting(server.websocket_manager, pause):
                # Longer than it takes to be given up: they are there, and answer.
                time.sleep(INTERVAL + TIMEOUT + 1.0)
                assert recorder.events.empty()
                namespace.drop_link()
                dropped = time.monotonic()
                for _ in range(COUNT):
                    connection = recorder.next("closed")
                    assert connection.close_cause is CloseCause.PING_TIMEOUT
                    assert connection.close_code == 1006
            assert time.monotonic() - dropped < INTERVAL + TIMEOUT + 1.0
            assert answering.ended == []
            assert recorder.events.empty()


def test_a_link_that_comes_back_in_time_costs_nobody_the_connection() -> None:
    timeout = 5.0  # TCP repeats what was lost at growing intervals
    recorder = Recorder()
    with (
        serving(recorder, timeout) as server,
        Namespace() as namespace,
        clients_in(namespace, server.address[1]),
    ):
        for _ in range(COUNT):
            recorder.next("established")
        namespace.drop_link()
        time.sleep(1.5 * INTERVAL)  # so at least one PING to each gets lost
        namespace.restore_link()
        time.sleep(timeout + 1.0)  # whoever is not heard of again is closed by now
        assert recorder.events.empty()


@contextlib.contextmanager
def broadcasting(manager: WebSocketManager, pause: float | None) -> Iterator[None]:
    """Send to all clients again and again, if there is a pause to be made in between."""
    over = threading.Event()

    def broadcast() -> None:
        while pause is not None and not over.wait(pause):
            manager.broadcast(bytes(1000))

    thread = threading.Thread(target=broadcast)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
