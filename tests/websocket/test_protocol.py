"""What comes over the wire: split, broken, hostile."""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import CloseCode, WebSocketConfig, WebSocketMessageHandler

from tests.process import resident
from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawWebSocket,
    close_payload,
    frame,
    request_head,
)
from tests.websocket.recorder import Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.websocket.conftest import Serve

MIB = 1 << 20


def header(length_code: int, length: int, first: int = 0x80 | BINARY) -> bytes:
    """Return a frame header that declares a length, up to and without the mask key."""
    formats = {126: "!BBH", 127: "!BBQ"}
    return struct.pack(formats[length_code], first, 0x80 | length_code, length)


def test_a_frame_arrives_byte_by_byte(serve: Serve) -> None:
    server = serve(Echo())
    with RawWebSocket(server.address) as client:
        for byte in request_head() + frame(TEXT, "grüße".encode()):
            client.send(bytes([byte]))
        assert client.read_response_head()[0] == 101
        assert client.read_text() == "grüße"


def test_a_stream_arrives_whatever_the_splits(serve: Serve) -> None:
    server = serve(Echo())
    chance = random.Random(6455)
    messages = [chance.randbytes(chance.choice([0, 5, 125, 126, 3000, 70_000])) for _ in range(60)]
    stream = b"".join(frame(BINARY, message) for message in messages)
    with RawWebSocket.open(server.address) as client:

        def send() -> None:
            start = 0
            while start < len(stream):
                end = start + chance.choice([1, 2, 7, 1000, 50_000])
                client.send(stream[start:end])
                start = end

        sender = threading.Thread(target=send)
        sender.start()
        for message in messages:
            assert client.read_frame() == Frame(0x80 | BINARY, message)
        sender.join()


def test_a_handshake_in_two_segments_and_data_sent_with_it(serve: Serve) -> None:
    server = serve(Echo())
    head = request_head()
    for split in (1, 20, len(head) - 2, len(head) - 1):
        with RawWebSocket(server.address) as client:
            client.send(head[:split])
            client.send(head[split:] + frame(TEXT, b"with it") + frame(TEXT, b"split")[:4])
            client.send(frame(TEXT, b"split")[4:])
            assert client.read_response_head()[0] == 101
            assert client.read_text() == "with it"
            assert client.read_text() == "split"


def test_64_mib_pass_when_the_limit_is_raised(serve: Serve) -> None:
    size = 64 * MIB
    server = serve(Echo(), WebSocketConfig(max_message_size=size, send_queue_limit=2 * size))
    payload = random.Random(64).randbytes(size)
    with RawWebSocket.open(server.address) as client:
        sender = threading.Thread(target=client.send, args=(frame(BINARY, payload),))
        sender.start()
        received = bytearray()
        head = client._read(10)
        assert head == struct.pack("!BBQ", 0x80 | BINARY, 127, size)
        received += client._unread
        while len(received) < size:
            received += client.socket.recv(MIB)
        sender.join()
        assert received == payload


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (header(127, 1 << 31), CloseCode.MESSAGE_TOO_BIG),
        (header(127, 1 << 32), CloseCode.MESSAGE_TOO_BIG),
        (header(127, 1 << 36), CloseCode.MESSAGE_TOO_BIG),
        (header(127, 1 << 30), CloseCode.MESSAGE_TOO_BIG),
        (header(127, (1 << 63) - 1), CloseCode.MESSAGE_TOO_BIG),
        (header(127, 1 << 63), CloseCode.PROTOCOL_ERROR),
        (header(127, (1 << 64) - 1), CloseCode.PROTOCOL_ERROR),
        (header(127, 65_535), CloseCode.PROTOCOL_ERROR),
        (header(126, 125), CloseCode.PROTOCOL_ERROR),
        (header(127, MIB + 1), CloseCode.MESSAGE_TOO_BIG),
        (frame(TEXT, b"x", rsv=4), CloseCode.PROTOCOL_ERROR),
        (frame(TEXT, b"x", rsv=2), CloseCode.PROTOCOL_ERROR),
        (frame(TEXT, b"x", rsv=1), CloseCode.PROTOCOL_ERROR),
        (frame(PING, b"x", rsv=4), CloseCode.PROTOCOL_ERROR),
        (frame(TEXT, b"x", mask=False), CloseCode.PROTOCOL_ERROR),
        (frame(3), CloseCode.PROTOCOL_ERROR),
        (frame(7), CloseCode.PROTOCOL_ERROR),
        (frame(11), CloseCode.PROTOCOL_ERROR),
        (frame(15), CloseCode.PROTOCOL_ERROR),
        (frame(PING, b"x" * 126), CloseCode.PROTOCOL_ERROR),
        (frame(PING, fin=False), CloseCode.PROTOCOL_ERROR),
        (frame(CONTINUATION, b"x"), CloseCode.PROTOCOL_ERROR),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), CloseCode.PROTOCOL_ERROR),
        (frame(CLOSE, b"\x03"), CloseCode.PROTOCOL_ERROR),
        (frame(CLOSE, close_payload(1005)), CloseCode.PROTOCOL_ERROR),
        (frame(CLOSE, close_payload(1000) + b"\xff"), CloseCode.INVALID_PAYLOAD),
        (frame(TEXT, b"\xff"), CloseCode.INVALID_PAYLOAD),
        (frame(TEXT, b"\xf4\x90", fin=False), CloseCode.INVALID_PAYLOAD),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION), CloseCode.INVALID_PAYLOAD),
    ],
)
def test_a_broken_stream_is_closed_with_the_right_code(
    serve: Serve, stream: bytes, code: CloseCode
) -> None:
    # A handler that overrides nothing has nothing that could catch anything.
    server = serve(WebSocketMessageHandler())
    with RawWebSocket.open(server.address) as client, RawWebSocket.open(server.address) as other:
        client.send(stream)
        closed_with, reason = client.read_close()
        assert closed_with == code
        assert reason, "the reason is told"
        client.read_end()
        other.send(frame(PING, b"alive"))
        assert other.read_frame().payload == b"alive"


def test_a_huge_length_allocates_nothing(serve: Serve) -> None:
    server = serve(Echo(), WebSocketConfig(max_message_size=2 << 30))
    clients = [RawWebSocket.open(server.address) for _ in range(20)]
    before = resident()
    for client in clients:
        # Within the limit: only what comes may cost memory.
        client.send(header(127, 1 << 30) + b"\x12\x34\x56\x78" + b"begun")
        client.send(b"")
    for client in clients:
        client.send(b"more" * 100)
    with RawWebSocket.open(server.address) as other:
        other.send_text("served")
        assert other.read_text() == "served"
    assert resident() - before < 32 * MIB
    for client in clients:
        client.reset()


def test_a_message_byte_by_byte_costs_its_size_at_most_twice(serve: Serve) -> None:
    # aiohttp's CVE-2026-54274: reads of one byte pinned 28 times the memory.
    size = 256 * 1024
    server = serve(Recorder())
    clients = [RawWebSocket.open(server.address) for _ in range(16)]
    payload = frame(BINARY, b"x" * size)[:-1]
    gc.collect()
    before = resident()
    for client in clients:
        client.send(payload[:-20_000])
        for byte in payload[-20_000:]:
            client.send(bytes([byte]))
    clients[0].send(b"")
    with RawWebSocket.open(server.address) as other:
        other.send(frame(PING))
        other.read_frame()
    assert resident() - before < 2 * size * len(clients) + 4 * MIB
    for client in clients:
        client.reset()


def test_a_long_message_with_all_that_may_be_around_it(serve: Serve) -> None:
    server = serve(Echo(), WebSocketConfig(max_message_size=2 * MIB, send_queue_limit=4 * MIB))
    first, second = os.urandom(400_000), os.urandom(700_000)
    stream = frame(BINARY, first, fin=False) + frame(PING, b"between")
    stream += frame(CONTINUATION, second) + frame(TEXT, b"behind")
    with RawWebSocket.open(server.address) as client:
        for _ in range(3):
            sender = threading.Thread(target=client.send, args=[stream])
            sender.start()
            assert client.read_frame() == Frame(0x80 | PONG, b"between")
            assert client.read_frame() == Frame(0x80 | BINARY, first + second)
            assert client.read_text() == "behind"
            sender.join()


@pytest.mark.parametrize("position", [0, 1, 100_000, 500_001, 999_999])
def test_text_that_is_wrong_anywhere_in_a_long_message(serve: Serve, position: int) -> None:
    server = serve(Echo())
    text = bytearray("é".encode() * 500_000)
    text[position] = 0xFF
    with RawWebSocket.open(server.address) as client:
        sender = threading.Thread(
            target=send_all_that_can_be, args=[client, frame(TEXT, bytes(text))]
        )
        sender.start()
        assert client.read_until_close()[1] == CloseCode.INVALID_PAYLOAD
        client.reset()
        sender.join()


def send_all_that_can_be(client: RawWebSocket, data: bytes) -> None:
    with suppress(OSError):
        client.send(data)


def test_a_close_in_the_midst_of_a_long_message(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    stream = frame(BINARY, bytes(MIB))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        client.send(stream[:600_000])
        connection.close()
        assert client.read_until_close() == (0, CloseCode.NORMAL)
        client.send(stream[600_000:] + frame(CLOSE, close_payload(1000)))
        assert recorder.next("close") == (1000, "")
        assert recorder.next("closed") is connection
        assert connection.close_code == CloseCode.NORMAL


def test_a_million_empty_fragments_are_bounded(serve: Serve) -> None:
    server = serve(Echo())
    with RawWebSocket.open(server.address) as client:
        before = resident()
        burst = frame(CONTINUATION, fin=False) * 10_000
        client.send(frame(TEXT, fin=False))
        sent = 0
        try:
            for _ in range(100):
                client.send(burst)
                sent += 10_000
        except OSError:  # the server has closed before we were done
            pass
        else:
            assert sent == 1_000_000
        assert client.read_close() == (
            CloseCode.POLICY_VIOLATION,
            "message has more than 131072 fragments",
        )
        assert resident() - before < 16 * MIB


def test_a_hundred_thousand_messages_and_pongs_leave_nothing_behind(serve: Serve) -> None:
    # Mesop and python-engineio: a thread for a message, a timer for a pong.
    server = serve(WebSocketMessageHandler())
    with RawWebSocket.open(server.address) as client:
        round_trip(client)
        threads, memory = threading.active_count(), resident()
        for _ in range(100):
            client.send((frame(TEXT, b"message") + frame(PONG, b"pong")) * 1000)
            round_trip(client)
        assert threading.active_count() == threads
        assert resident() - memory < 4 * MIB
    server.stop()
    assert server.websocket_manager.stats().messages_received == 100_000


def round_trip(client: RawWebSocket) -> None:
    client.send(frame(PING, b"?"))
    assert client.read_frame() == Frame(0x80 | PONG, b"?")


def test_the_reply_to_a_good_message_comes_before_the_close_for_a_bad_one(serve: Serve) -> None:
    server = serve(Echo())
    for _ in range(50):
        with RawWebSocket.open(server.address) as client:
            client.send(frame(TEXT, b"good") + frame(TEXT, b"bad", rsv=7) + frame(TEXT, b"after"))
            assert client.read_text() == "good"
            assert client.read_close()[0] == CloseCode.PROTOCOL_ERROR


def test_the_close_frame_is_not_lost_to_a_reset(serve: Serve) -> None:
    server = serve(Echo(), WebSocketConfig(close_timeout=5.0))
    with RawWebSocket.open(server.address) as client:
        # What is unread when a socket is closed would make the kernel send a reset.
        client.send(frame(TEXT, b"bad", mask=False) + b"x" * 1_000_000)
        assert client.read_close()[0] == CloseCode.PROTOCOL_ERROR
        assert client.read_end() == b""


def test_small_messages_do_not_wait_for_nagle(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    with RawWebSocket.open(server.address) as client:
        recorder.next("established")
        ours = client.socket.getsockname()
        no_delay = [
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for sock in open_sockets()
            if peer_name(sock) == ours
        ]
        assert no_delay == [1]


def open_sockets() -> Iterator[socket.socket]:
    """Yield a duplicate of each socket that this process has open, until the next one."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            if entry.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as duplicate:
                    yield duplicate
        except OSError:  # it was closed meanwhile
            continue


def peer_name(candidate: socket.socket) -> object:
    """Return the address of a socket's peer, if it has one."""
    try:
        return candidate.getpeername()
    except OSError:
        return None
