"""WebSockets over TLS when things go wrong: peers that vanish, cheat, stall or flood."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from handy_ws import CloseCause, WebSocketConfig

from tests.http.tls_clients import Engine
from tests.websocket.raw_websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
    request_head,
)
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import HttpServer, WebSocketConnection, WebSocketTextMessage

    from tests.certificates import Authority
    from tests.websocket.conftest import Serve


@pytest.fixture
def context(authority: Authority, tls_version: str) -> ssl.SSLContext:
    return authority.client(tls_version)


def open_engine(server: HttpServer, context: ssl.SSLContext) -> Engine:
    """Do both handshakes with a client whose records can be tampered with."""
    engine = Engine(server.address, context)
    engine.shake()
    engine.send(engine.encrypt(request_head()))
    engine.until(b"\r\n\r\n")
    return engine


def is_alive(server: HttpServer, context: ssl.SSLContext) -> bool:
    with RawWebSocket.open(server.address, context=context) as client:
        client.send(frame(PING, b"alive"))
        return client.read_frame().payload == b"alive"


# Ways to vanish


def reset(engine: Engine) -> None:
    now = struct.pack("ii", 1, 0)
    engine.raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
    engine.raw.sock.close()


def close_tcp(engine: Engine) -> None:
    engine.raw.sock.close()


def cut_a_record(engine: Engine) -> None:
    engine.send(engine.encrypt(frame(TEXT, b"never whole"))[:-1])
    engine.raw.sock.close()


def say_close_notify(engine: Engine) -> None:
    engine.send(engine.close_notify())
    engine.raw.sock.close()


def damage_a_record(engine: Engine) -> None:
    record = bytearray(engine.encrypt(frame(TEXT, b"damaged")))
    record[-1] ^= 1
    engine.send(record)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.bad.record.mac"):
        engine.read()


def speak_plain(engine: Engine) -> None:
    engine.send(frame(TEXT, b"in plain"))
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        engine.read()


@pytest.mark.parametrize(
    "vanish",
    [reset, close_tcp, cut_a_record, say_close_notify, damage_a_record, speak_plain],
)
def test_whoever_vanishes_without_a_close_is_closed_once_with_1006(
    serve: Serve,
    authority: Authority,
    context: ssl.SSLContext,
    vanish: Callable[[Engine], None],
) -> None:
    recorder = Recorder()
    server = serve(recorder, tls=authority.server.config())
    engine = open_engine(server, context)
    connection: WebSocketConnection = recorder.next("established")
    engine.send(engine.encrypt(frame(TEXT, b"before")))
    assert recorder.next("text") == "before"
    vanish(engine)
    assert recorder.next("closed") is connection
    assert (connection.close_code, connection.close_cause) == (1006, CloseCause.NETWORK_ERROR)
    engine.raw.sock.close()
    assert is_alive(server, context)
    assert recorder.next("established") is not connection
    recorder.next("closed")
    assert recorder.events.empty()


# The rows of the WebSocket layer that have something to do with the stream below


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x82\xff" + struct.pack("!Q", 2**31), 1009),
        (b"\x82\xff" + struct.pack("!Q", 2**63 - 1), 1009),
        (b"\x82\xff" + struct.pack("!Q", 2**64 - 1), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"unmasked", mask=False), 1002),
        (frame(TEXT, b"compressed", rsv=4), 1002),
        (frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) * 200, 1008),
        (frame(TEXT, b"x" * 70_000), 1009),
    ],
    ids=["2^31", "2^63-1", "2^64-1", "utf-8", "unmasked", "rsv", "fragments", "too long"],
)
def test_protocol_errors_get_their_code_and_a_clean_end(
    serve: Serve, authority: Authority, context: ssl.SSLContext, sent: bytes, code: int
) -> None:
    config = WebSocketConfig(max_message_size=65536, max_fragments=100)
    server = serve(Echo(), config, authority.server.config())
    with RawWebSocket.open(server.address, context=context) as client:
        client.send(frame(TEXT, b"before") + sent)
        assert client.read_text() == "before"
        assert client.read_close()[0] == code
        client.send_close(code)
        assert client.read_end() == b""
    assert is_alive(server, context)


def test_pings_are_answered_while_a_callback_blocks(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    blocks, go_on = threading.Event(), threading.Event()

    class Blocking(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            blocks.set()
            assert go_on.wait(PATIENCE)
            super().on_text_message(message)

    server = serve(Blocking(), tls=authority.server.config())
    with (
        RawWebSocket.open(server.address, context=context) as blocker,
        RawWebSocket.open(server.address, context=context) as other,
    ):
        blocker.send_text("block")
        assert blocks.wait(PATIENCE)
        try:
            for number in range(20):
                other.send(frame(PING, str(number).encode()))
                received = other.read_frame()
                assert (received.opcode, received.payload) == (PONG, str(number).encode())
            server.websocket_manager.broadcast("from elsewhere")
            assert other.read_text() == "from elsewhere"
        finally:
            go_on.set()
        assert sorted([blocker.read_text(), blocker.read_text()]) == ["block", "from elsewhere"]


def test_stalled_readers_are_closed_and_cost_nobody_else_a_message(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    recorder = Recorder()
    config = WebSocketConfig(send_queue_limit=500_000, close_timeout=0.5)
    server = serve(recorder, config, authority.server.config())
    with ExitStack() as stack:
        stalled = [
            stack.enter_context(
                RawWebSocket.open(server.address, context=context, receive_buffer=4096)
            )
            for _ in range(3)
        ]
        connections = {recorder.next("established") for _ in stalled}
        reader = stack.enter_context(RawWebSocket.open(server.address, context=context))
        recorder.next("established")
        for number in range(200):
            server.websocket_manager.broadcast(b"%03d" % number + bytes(100_000))
            assert reader.read_frame().payload[:3] == b"%03d" % number
        closed = {recorder.wait_for("closed") for _ in stalled}
        assert closed == connections
        assert {connection.close_cause for connection in closed} == {CloseCause.SLOW_CONSUMER}
        reader.send(frame(BINARY, b"still here"))
        assert recorder.wait_for("binary") == b"still here"


def test_clients_that_come_and_go_together(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    recorder = Recorder()
    server = serve(recorder, tls=authority.server.config())
    failures: list[Exception] = []

    def come_and_go() -> None:
        context = authority.client(tls_version)
        try:
            for number in range(25):
                engine = open_engine(server, context)
                (reset if number % 2 else close_tcp)(engine)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert is_alive(server, authority.client(tls_version))
    for _ in range(101):
        recorder.wait_for("closed")
    assert len(server.websocket_manager) == 0
