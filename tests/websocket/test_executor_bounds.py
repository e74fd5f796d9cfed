"""What one connection may take of an executor: not all of its time, and not all of the memory."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from handy_ws import (
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.websocket.raw_websocket import PING, TEXT, RawWebSocket, frame
from tests.websocket.recorder import PATIENCE, Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve


def test_a_busy_connection_lets_others_have_the_only_thread(serve: Serve) -> None:
    begun = threading.Event()
    order: list[str] = []

    class Busy(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            begun.set()
            order.append(message.payload)
            time.sleep(0.002)
            if message.payload in {"last", "other"}:
                message.connection.send_text("done")

    with ThreadPoolExecutor(1) as pool:
        server = serve(WebSocketHandler(Busy(), executor=pool))
        with RawWebSocket.open(server.address) as busy, RawWebSocket.open(server.address) as other:
            busy.send(frame(TEXT, b"busy") * 1000 + frame(TEXT, b"last"))
            assert begun.wait(PATIENCE)
            other.send_text("other")
            assert other.read_text() == "done"
            assert busy.read_text() == "done"
        server.stop()
    assert len(order) == 1002
    assert "busy" in order[order.index("other") :], "it did not have to wait for all of them"


def test_what_waits_for_the_executor_is_bounded_and_nothing_is_lost(serve: Serve) -> None:
    go_on = threading.Event()

    class Blocking(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            assert go_on.wait(PATIENCE)
            self.events.put(("text", message.payload[:5]))

    handler = Blocking()
    config = WebSocketConfig(receive_queue_limit=20_000)
    pool = ThreadPoolExecutor(1)
    server = serve(WebSocketHandler(handler, executor=pool), config)
    frames = [frame(TEXT, b"%05d" % number + b"x" * 995) for number in range(10_000)]
    flood, sent = b"".join(frames), 0
    with RawWebSocket.open(server.address) as client, RawWebSocket.open(server.address) as other:
        client.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while sent < len(flood):
                sent += client.socket.send(flood[sent : sent + 100_000])
        assert sent < len(flood), "the server takes everything"
        # What is over the limit in one read counts: 128 KiB.
        assert server.websocket_manager.stats().messages_received < 200
        other.send(frame(PING, b"still served"))
        assert other.read_frame().payload == b"still served"
        go_on.set()
        client.socket.settimeout(PATIENCE)
        client.send(flood[sent:])
        for _ in range(2):
            handler.next("established")
        for number in range(len(frames)):
            assert handler.next("text") == f"{number:05}"
    server.stop()
    pool.shutdown()
