"""Keepalive as applications see it: latency, causes, and a process that was not there.

The rules themselves are tested in `rust/core/tests/keepalive.rs`.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import CloseCause, WebSocketConfig, WebSocketMessageHandler

from tests.websocket.answering import Answering
from tests.websocket.raw_websocket import PATIENCE, PING, PONG, RawWebSocket, frame
from tests.websocket.recorder import Recorder, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from handy_ws import WebSocketTextMessage

    from tests.websocket.conftest import Serve

TIMEOUT = 1.0  # seconds
INTERVAL = 0.2

pytestmark = pytest.mark.alone


class Process:
    """A server in a process of its own."""

    def __init__(self) -> None:
        program = Path(__file__).parent / "keepalive_process.py"
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(program),
                json.dumps({"ping_interval": INTERVAL, "ping_timeout": TIMEOUT}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = ("127.0.0.1", int(self._read_line()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process for the length of the block."""
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    def report(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        report: dict[str, Any] = json.loads(self._read_line())
        return report

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def test_the_latency_is_that_of_the_last_answered_ping(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(ping_interval=1.0))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        unmeasured: float | None = connection.latency
        assert unmeasured is None
        start = time.monotonic()
        ping = client.read_frame()
        assert ping.opcode == PING
        time.sleep(0.05)
        client.send(frame(PONG, ping.payload))
        wait_until(lambda: connection.latency is not None)
        latency: float | None = connection.latency
        assert latency is not None
        assert 0.05 <= latency < time.monotonic() - start


def test_a_client_that_ignores_pings_is_closed(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(ping_interval=0.2, ping_timeout=0.3))
    with RawWebSocket.open(server.address):
        connection = recorder.next("established")
        assert recorder.next("closed") is connection
        assert connection.close_cause is CloseCause.PING_TIMEOUT
        assert (connection.close_code, connection.close_reason) == (1006, "")


def test_a_client_without_messages_is_closed_if_wanted(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(idle_timeout=0.3))
    with RawWebSocket.open(server.address) as client:
        assert client.read_close() == (1000, "idle")
        client.send_close(1000, "idle")
        assert client.read_end() == b""
    connection = recorder.wait_for("closed")
    assert connection.close_cause is CloseCause.IDLE_TIMEOUT
    assert (connection.close_code, connection.close_reason) == (1000, "idle")


def test_a_client_that_takes_nothing_is_closed(serve: Serve) -> None:
    recorder = Recorder()
    config = WebSocketConfig(write_timeout=0.3, send_queue_limit=64 << 20)
    server = serve(recorder, config)
    with RawWebSocket.open(server.address):
        connection = recorder.next("established")
        connection.send_binary(bytes(32 << 20))
        assert recorder.next("closed") is connection
        assert connection.close_cause is CloseCause.SLOW_CONSUMER
        assert connection.close_code == 1006


def test_a_callback_that_blocks_lets_nobody_die(serve: Serve) -> None:
    class Blocking(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            time.sleep(3 * TIMEOUT)
            message.connection.send_text("done")

    server = serve(Blocking(), WebSocketConfig(ping_interval=INTERVAL, ping_timeout=TIMEOUT))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket.open(server.address)) for _ in range(20)]
        blocker = RawWebSocket.open(server.address)
        with Answering(clients) as answering, blocker:
            blocker.send_text("block")
            while (received := blocker.read_frame()).opcode == PING:
                blocker.send(frame(PONG, received.payload))
            assert received.payload == b"done"
            assert answering.ended == []
            assert answering.pings > 5 * len(clients)
        assert server.websocket_manager.stats().connections >= len(clients)


def test_time_that_the_process_was_stopped_is_not_held_against_its_clients() -> None:
    with Process() as process, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket.open(process.address)) for _ in range(100)]
        late, silent = (stack.enter_context(RawWebSocket.open(process.address)) for _ in range(2))
        with Answering(clients) as prompt:
            assert late.read_frame().opcode == PING
            with process.stopped():
                time.sleep(3 * TIMEOUT)
            # As if it had been stopped together with the server, and went on a bit later.
            time.sleep(TIMEOUT / 4)
            with Answering([late]) as answering:
                wait_until(lambda: answering.pings > 10)
                wait_until(lambda: process.report()["causes"] == ["ping timeout"])
                assert prompt.ended == answering.ended == []
        silent.read_end()
