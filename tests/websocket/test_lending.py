"""Long payloads are sent from where they are: whole, as they were, and let go of."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import ConnectionClosed, SendResult, WebSocketConfig

from tests.websocket.raw_websocket import BINARY, TEXT, Frame, RawWebSocket
from tests.websocket.recorder import Echo, Recorder, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import WebSocketConnection

    from tests.websocket.conftest import Serve

#: On both sides of the size from which payloads are lent, and of that from which the core does not
#: wait for anybody to take them back.
SIZES = [8191, 8192, 8193, 65_535, 65_536, 1 << 20, 3 << 20]
LIMIT = 16 << 20


def connect(
    serve: Serve, config: WebSocketConfig | None = None
) -> tuple[RawWebSocket, WebSocketConnection]:
    recorder = Recorder()
    server = serve(recorder, config or WebSocketConfig(send_queue_limit=LIMIT))
    client = RawWebSocket.open(server.address)
    return client, recorder.next("established")


def ascii_of(size: int) -> str:
    return "x" * size


def text_of(size: int) -> str:
    """Text that takes so many bytes in UTF-8, most of which are not ASCII."""
    return "x" * (size % 3) + "€" * (size // 3)


@pytest.mark.parametrize("size", SIZES)
def test_payloads_of_all_sizes_come_back(serve: Serve, size: int) -> None:
    server = serve(Echo(), WebSocketConfig(max_message_size=LIMIT, send_queue_limit=LIMIT))
    with RawWebSocket.open(server.address) as client:
        for text in (ascii_of(size), text_of(size)):
            client.send_text(text)
            assert client.read_text() == text


@pytest.mark.parametrize("size", SIZES)
def test_what_becomes_of_a_buffer_behind_the_send_is_not_seen(serve: Serve, size: int) -> None:
    client, connection = connect(serve)
    buffers: list[Any] = [bytearray(b"x") * size, memoryview(bytearray(b"x") * size)]
    with client:
        for buffer in buffers:
            for _ in range(3):
                connection.send_binary(buffer)
            buffer[:] = b"y" * size
            for _ in range(3):
                assert client.read_frame() == Frame(0x80 | BINARY, b"x" * size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [bytes, ascii_of, text_of])
def test_what_was_sent_is_let_go_of(
    serve: Serve, size: int, make: Callable[[int], str | bytes]
) -> None:
    client, connection = connect(serve)
    with client:
        payload = make(size)
        before = sys.getrefcount(payload)
        for _ in range(3):
            if isinstance(payload, str):
                connection.send_text(payload)
            else:
                connection.send_binary(payload)
        for _ in range(3):
            assert len(client.read_frame().payload) == size
        client.send_text("anything")
        wait_until(lambda: sys.getrefcount(payload) == before)


def test_what_was_much_is_let_go_of_even_if_nothing_happens(serve: Serve) -> None:
    client, connection = connect(serve)
    with client:
        payload = bytes(3 << 20)
        before = sys.getrefcount(payload)
        connection.send_binary(payload)
        assert len(client.read_frame().payload) == 3 << 20
        wait_until(lambda: sys.getrefcount(payload) == before)


def test_an_object_of_a_subclass_is_not_kept(serve: Serve) -> None:
    class Bytes(bytes):
        pass

    class Text(str):
        __slots__ = ("__weakref__",)

    client, connection = connect(serve)
    with client:
        data, text = Bytes(bytes(10_000)), Text("x" * 10_000)
        before, gone = sys.getrefcount(data), weakref.ref(text)
        connection.send_binary(data)
        connection.send_text(text)
        assert sys.getrefcount(data) == before
        del text
        assert gone() is None
        assert client.read_frame() == Frame(0x80 | BINARY, bytes(10_000))
        assert client.read_frame() == Frame(0x80 | TEXT, b"x" * 10_000)


def test_what_is_not_sent_is_let_go_of(serve: Serve) -> None:
    config = WebSocketConfig(send_queue_limit=100_000, slow_consumer="drop_newest")
    client, connection = connect(serve, config)
    payload = bytes(60_000)
    before = sys.getrefcount(payload)
    with client:
        while connection.send_binary(payload) is not SendResult.DROPPED:
            pass
        client.reset()  # with all of it unread
        wait_until(lambda: not connection.is_open)
        with pytest.raises(ConnectionClosed):
            connection.send_binary(payload)
        wait_until(lambda: not connection.is_open and sys.getrefcount(payload) == before)
