"""The limit on how fast one client may send."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from handy_ws import CloseCause, WebSocketConfig

from tests.websocket.raw_websocket import PING, PONG, TEXT, RawWebSocket, frame
from tests.websocket.recorder import Echo, Recorder

if TYPE_CHECKING:
    from handy_ws import WebSocketTextMessage

    from tests.websocket.conftest import Serve


def test_a_client_that_sends_too_fast_is_closed_behind_what_it_may_send(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(max_message_rate=2.5))
    with RawWebSocket.open(server.address) as client:
        recorder.next("established")
        client.send(frame(PING) * 5 + frame(TEXT, b"one") + frame(TEXT, b"two"))
        for _ in range(5):
            assert client.read_frame().opcode == PONG
        assert (recorder.next("text"), recorder.next("text")) == ("one", "two")
        # Minutes' worth, so that some are too many however slow this machine is.
        client.send(frame(TEXT, b"more") * 1000)
        assert client.read_close() == (1008, "too many messages")
        client.read_end()
    connection = recorder.wait_for("closed")
    assert connection.close_cause is CloseCause.PROTOCOL_ERROR
    assert (connection.close_code, connection.close_reason) == (1008, "too many messages")
    assert server.websocket_manager.stats().messages_received < 1000


def test_a_client_at_the_limit_lives_on_while_a_callback_blocks(serve: Serve) -> None:
    class Blocking(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            if message.payload == "block":
                time.sleep(1.5)
            super().on_text_message(message)

    # Not much of it may wait in the server, so most waits in the socket.
    config = WebSocketConfig(max_message_rate=100, receive_queue_limit=1000)
    server = serve(Blocking(), config)
    with RawWebSocket.open(server.address) as blocker, RawWebSocket.open(server.address) as client:
        blocker.send_text("block")
        client.send(frame(TEXT, b"x") * 100)
        for _ in range(120):
            time.sleep(0.011)
            client.send_text("x")
        for _ in range(220):
            assert client.read_text() == "x"
