"""A callback that blocks delays callbacks, and nothing else."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import SendResult, WebSocketConfig, WebSocketMessageHandler

from .raw_websocket import PING, PONG, TEXT, RawWebSocket, frame
from .recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from handy_ws import WebSocketTextMessage

    from .conftest import Serve

HOLDING = 2.0  # seconds

pytestmark = pytest.mark.alone


class Blocking(Recorder):
    """Blocks on "block" until the test lets it go on; records everything."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = threading.Event()
        self.go_on = threading.Event()

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        super().on_text_message(message)
        if message.payload == "block":
            self.blocks.set()
            assert self.go_on.wait(PATIENCE)


def pong(client: RawWebSocket, payload: bytes) -> None:
    """Send a PING and read the PONG."""
    client.send(frame(PING, payload))
    answer = client.read_frame()
    assert (answer.opcode, answer.payload) == (PONG, payload)


def test_pongs_sends_and_broadcasts_go_on_while_a_callback_sleeps(serve: Serve) -> None:
    handler = Blocking()
    server = serve(handler)
    manager = server.websocket_manager
    with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as blocker:
        connection = handler.wait_for("established")
        handler.wait_for("established")
        blocker.send(frame(TEXT, b"block"))
        assert handler.blocks.wait(PATIENCE)
        for number in range(50):
            pong(one, str(number).encode())
            assert connection.send_text("to one") is SendResult.QUEUED
            assert one.read_frame().payload == b"to one"
            manager.broadcast("to all")
            assert one.read_frame().payload == blocker.read_frame().payload == b"to all"
        one.send(frame(TEXT, b"wait for your turn"))
        pong(one, b"it has been read")
        assert handler.next("text") == "block"
        assert handler.events.empty()
        handler.go_on.set()
        assert handler.next("text") == "wait for your turn"
        assert manager.stats().takeovers >= 1


def test_the_last_words_of_a_peer_that_leaves_meanwhile_are_delivered(serve: Serve) -> None:
    handler = Blocking()
    server = serve(handler)
    with RawWebSocket.open(server.address) as blocker:
        handler.next("established")
        with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as two:
            handler.next("established")
            closed = handler.next("established")
            blocker.send(frame(TEXT, b"block"))
            assert handler.blocks.wait(PATIENCE)
            assert handler.next("text") == "block"
            one.send(frame(TEXT, b"last words") + frame(TEXT, b"of one"))
            two.send(frame(TEXT, b"nothing behind our close"))
            pong(one, b"it has been read")
            pong(two, b"it has been read")
            closed.close()
            one.reset()
        deadline = time.monotonic() + PATIENCE
        while server.websocket_manager.stats().connections > 1:
            pong(blocker, b"they have left")
            assert time.monotonic() < deadline
        handler.go_on.set()
        rest = [handler.events.get(timeout=PATIENCE) for _ in range(4)]
        assert [value for kind, value in rest if kind == "text"] == ["last words", "of one"]
        assert [kind for kind, _ in rest].count("closed") == 2


def test_everything_but_python_goes_on_while_native_code_holds_the_lock() -> None:
    program = Path(__file__).parent / "blocking_process.py"
    with subprocess.Popen(
        [sys.executable, str(program), str(HOLDING)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        with (
            RawWebSocket.open(address) as blocker,
            RawWebSocket.open(address) as one,
            RawWebSocket.open(address) as other,
        ):
            blocker.send(frame(TEXT, b"hold"))
            # It was sent by the callback, which has not returned.
            assert one.read_frame().payload == blocker.read_frame().payload == b"begun"
            other.reset()  # which the core logs, without the lock
            for number in range(50):
                pong(one, str(number).encode())
                pong(blocker, str(number).encode())
            # Had the lock been free by now, this would have come before the last PONG.
            assert blocker.read_frame().payload == b"done"
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert "DEBUG:handy_ws:connection" in output
    assert "WARNING:handy_ws:on_text_message took 2." in output
    assert "slow_callbacks=1, takeovers=" in output


def test_a_slow_callback_is_logged_and_counted(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            time.sleep(float(message.payload))
            super().on_text_message(message)

    handler = Slow()
    server = serve(handler, WebSocketConfig(slow_callback_warning=0.05))
    with caplog.at_level(logging.WARNING), RawWebSocket.open(server.address) as client:
        connection = handler.next("established")
        client.send(frame(TEXT, b"0.1") + frame(TEXT, b"0"))
        handler.next("text")
        handler.next("text")
    handler.wait_for("closed")
    stats = server.websocket_manager.stats()
    slow = [text for text in caplog.messages if text.startswith("on_text_message took 0.")]
    assert slow[0].endswith(f"s for connection {connection.id}")
    assert stats.slow_callbacks == len(caplog.messages) >= len(slow)
    assert stats.callback_time_total >= stats.callback_time_max >= 0.1


def test_without_a_warning_time_no_callback_is_slow(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            time.sleep(0.15)
            super().on_text_message(message)

    server = serve(Slow(), WebSocketConfig(slow_callback_warning=None))
    with caplog.at_level(logging.WARNING), RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"slow"))
        assert client.read_frame().payload == b"slow"
    assert caplog.messages == []
    assert server.websocket_manager.stats().slow_callbacks == 0


def test_the_wait_for_the_interpreter_is_measured(serve: Serve) -> None:
    server = serve(Echo())
    stop = threading.Event()

    def hold() -> None:
        sleep = ctypes.PyDLL(None).usleep  # with the lock
        while not stop.is_set():
            sleep(20_000)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        with RawWebSocket.open(server.address) as client:
            for _ in range(20):
                client.send(frame(TEXT, b"x"))
                client.read_frame()
    finally:
        stop.set()
        thread.join()
    stats = server.websocket_manager.stats()
    assert stats.gil_wait_total >= stats.gil_wait_max >= 0.001
    assert stats.turns >= 20


def test_callbacks_never_overlap(serve: Serve) -> None:
    class Alone(WebSocketMessageHandler):
        def __init__(self) -> None:
            self.inside = threading.Lock()
            self.overlaps = 0
            self.order: list[str] = []

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            if not self.inside.acquire(blocking=False):
                self.overlaps += 1
                return
            time.sleep(0.02)  # long enough to be stood in for
            self.order.append(message.payload)
            self.inside.release()
            message.connection.send_text(message.payload)

    handler = Alone()
    server = serve(handler)
    with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as two:
        for number in range(30):
            one.send(frame(TEXT, f"one {number}".encode()))
            two.send(frame(TEXT, f"two {number}".encode()))
        for number in range(30):
            assert one.read_frame().payload == f"one {number}".encode()
            assert two.read_frame().payload == f"two {number}".encode()
    assert handler.overlaps == 0
    for name in ("one", "two"):
        mine = [text for text in handler.order if text.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(30)]
    assert server.websocket_manager.stats().takeovers >= 1
