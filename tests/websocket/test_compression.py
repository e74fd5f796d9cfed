"""permessage-deflate (RFC 7692) through the public API, with zlib and other clients opposite."""

from __future__ import annotations

import ctypes
import json
import random
import select
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCause,
    CompressionConfig,
    PathHandler,
    SendResult,
    WebSocketConfig,
    WebSocketHandler,
)
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from tests.websocket.deflate_client import RSV1, DeflateClient, compressed, deflate, fragments
from tests.websocket.raw_websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
)
from tests.websocket.recorder import Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import WebSocketBinaryMessage

    from tests.websocket.conftest import Serve

MIB = 1 << 20
STORY = "what happens again and again, happens again and again. " * 20
ALONE = CompressionConfig()
TAKEOVER = CompressionConfig(context_takeover=True)
BOTH = pytest.mark.parametrize("compression", [ALONE, TAKEOVER], ids=["alone", "takeover"])


def with_compression(compression: CompressionConfig | None, size: int = MIB) -> WebSocketConfig:
    return WebSocketConfig(compression=compression, max_message_size=size)


def random_json(source: random.Random, count: int) -> str:
    return json.dumps([{"id": n, "price": source.random()} for n in range(count)])


def test_it_is_off_by_default(serve: Serve) -> None:
    recorder = Recorder()
    with DeflateClient.offer(serve(recorder).address) as client:
        assert client.extensions == ""
        connection = recorder.next("established")
        assert connection.extensions == ""
        connection.send_text(STORY)
        assert client.read_text() == STORY
        client.send(compressed(STORY))
        assert client.read_close()[0] == 1002


def test_a_connection_tells_what_was_agreed_on(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, with_compression(TAKEOVER))
    with DeflateClient.offer(
        server.address, "permessage-deflate; server_max_window_bits=10"
    ) as client:
        connection = recorder.next("established")
        assert client.extensions == "permessage-deflate; server_max_window_bits=10"
        assert connection.extensions == client.extensions
    with RawWebSocket.open(server.address):
        assert recorder.wait_for("established").extensions == ""


@BOTH
@pytest.mark.parametrize("bits", range(9, 16))
def test_messages_go_both_ways_with_every_window(
    serve: Serve, compression: CompressionConfig, bits: int
) -> None:
    server = serve(Echo(), with_compression(compression))
    source = random.Random(bits)
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=bits)
    host, port = server.address
    with connect(f"ws://{host}:{port}", extensions=[offer], compression=None) as client:
        assert [extension.name for extension in client.protocol.extensions] == [
            "permessage-deflate"
        ]
        for length in [0, 1, 5, 50, 500, 5000]:
            for message in (random_json(source, length), source.randbytes(length)):
                client.send(message)
                assert client.recv() == message
            client.send(iter([STORY[:length], STORY, "", STORY]), text=True)  # fragments
            assert client.recv() == STORY[:length] + STORY + STORY


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level_can_be_read(serve: Serve, level: int) -> None:
    recorder = Recorder()
    config = CompressionConfig(level=level, context_takeover=True, window_bits=9)
    with DeflateClient.offer(serve(recorder, with_compression(config)).address) as client:
        connection = recorder.next("established")
        source = random.Random(level)
        for count in [10, 100, 1000, 10, 2000]:
            message = random_json(source, count)
            connection.send_text(message)
            assert client.read_message() == (TEXT, message.encode(), True)


@BOTH
def test_a_message_shorter_than_the_threshold_is_sent_as_it_is(
    serve: Serve, compression: CompressionConfig
) -> None:
    recorder = Recorder()
    with DeflateClient.offer(serve(recorder, with_compression(compression)).address) as client:
        connection = recorder.next("established")
        for length, is_compressed in [(0, False), (255, False), (256, True)]:
            connection.send_binary(bytes(length))
            assert client.read_message() == (BINARY, bytes(length), is_compressed)


@BOTH
def test_one_message_can_be_sent_uncompressed(serve: Serve, compression: CompressionConfig) -> None:
    recorder = Recorder()
    server = serve(recorder, with_compression(compression))
    with DeflateClient.offer(server.address) as client:
        connection = recorder.next("established")
        for compress in [True, False, True, True, False, False, True]:
            assert connection.send_text(STORY, compress=compress) is SendResult.QUEUED
            assert connection.send_binary(STORY.encode(), compress=compress) is SendResult.QUEUED
            server.websocket_manager.broadcast(STORY, compress=compress)
            for opcode in [TEXT, BINARY, TEXT]:
                assert client.read_message() == (opcode, STORY.encode(), compress)


def test_what_does_not_get_shorter_is_sent_as_it_is(serve: Serve) -> None:
    recorder = Recorder()
    with DeflateClient.offer(serve(recorder, with_compression(ALONE)).address) as client:
        noise = random.Random(1).randbytes(10_000)
        recorder.next("established").send_binary(noise)
        assert client.read_message() == (BINARY, noise, False)


def test_pings_are_never_compressed(serve: Serve) -> None:
    recorder = Recorder()
    config = CompressionConfig(threshold=0)
    with DeflateClient.offer(serve(recorder, with_compression(config)).address) as client:
        recorder.next("established").ping(bytes(125))
        received = client.read_frame()
        assert (received.first, received.payload) == (0x80 | PING, bytes(125))
        client.send(frame(PING, bytes(125)))
        received = client.read_frame()
        assert (received.first, received.payload) == (0x80 | PONG, bytes(125))


def test_a_broadcast_is_compressed_once_for_each_set_of_parameters(serve: Serve) -> None:
    server = serve(Recorder(), with_compression(TAKEOVER))
    offers = [
        "permessage-deflate",
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
    ]
    clients = [DeflateClient.offer(server.address, offer) for offer in offers]
    plain = RawWebSocket.open(server.address)
    for number in range(20):
        story = f"{number} {STORY}"
        server.websocket_manager.broadcast(story)
        first, second, without_takeover, small = [client.read_frame() for client in clients]
        # The same bytes, also for those that keep a history: nobody has a compressor of its own.
        assert first == second == without_takeover
        for client, received in zip(clients, [first, second, without_takeover, small], strict=True):
            assert client.inflate(received).decode() == story
        assert plain.read_text() == story


def test_connections_with_takeover_stay_correct_between_broadcasts(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(
        recorder, with_compression(CompressionConfig(context_takeover=True, threshold=10))
    )
    source = random.Random(7)
    pairs = [
        (DeflateClient.offer(server.address), recorder.next("established"), [""]) for _ in range(3)
    ]
    for _, _, expected in pairs:
        expected.clear()
    for _ in range(300):
        message = random_json(source, source.randrange(30))
        compress = source.random() < 0.9
        if source.random() < 0.3:
            server.websocket_manager.broadcast(message, compress=compress)
            for _, _, expected in pairs:
                expected.append(message)
        else:
            _, connection, expected = source.choice(pairs)
            connection.send_text(message, compress=compress)
            expected.append(message)
    for client, _, expected in pairs:
        for message in expected:
            assert client.read_message()[1].decode() == message


def test_threads_that_send_compressed_keep_their_order(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, with_compression(TAKEOVER))
    with DeflateClient.offer(server.address) as client:
        connection = recorder.next("established")

        def send(thread: int) -> None:
            for number in range(500):
                text = f"{thread} {number} " + "x" * (number % 700)
                if number % 10 == 9:
                    server.websocket_manager.broadcast(text)
                else:
                    connection.send_text(text)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        numbers: dict[str, list[int]] = {str(n): [] for n in range(4)}
        for _ in range(2000):
            thread_number, number, filling = client.read_message()[1].decode().split(" ")
            assert filling == "x" * (int(number) % 700)
            numbers[thread_number].append(int(number))
        for thread in threads:
            thread.join()
        assert list(numbers.values()) == [list(range(500))] * 4


# What a client may do wrong


@BOTH
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(TEXT, b"\x07", rsv=RSV1)], 1007),
        ([frame(TEXT, deflate(b"\xff"), rsv=RSV1)], 1007),
        ([frame(TEXT, b"\x00", rsv=RSV1, fin=False), frame(CONTINUATION, b"\x00", rsv=RSV1)], 1002),
        ([frame(PING, b"", rsv=RSV1)], 1002),
        ([frame(TEXT, b"", rsv=2)], 1002),
        ([frame(TEXT, b"", rsv=1)], 1002),
        ([frame(BINARY, deflate(bytes(MIB + 1)), rsv=RSV1)], 1009),
    ],
    ids=["no deflate", "no UTF-8", "continuation", "control", "RSV2", "RSV3", "too big"],
)
def test_a_broken_stream_is_closed_with_its_code(
    serve: Serve, compression: CompressionConfig, frames: list[bytes], code: int
) -> None:
    recorder = Recorder()
    server = serve(recorder, with_compression(compression))
    with DeflateClient.offer(server.address) as client, RawWebSocket.open(server.address) as other:
        client.send(compressed("before") + b"".join(frames) + compressed("after"))
        assert client.read_close()[0] == code
        assert recorder.wait_for("text") == "before"
        connection = recorder.wait_for("closed")
        assert connection.close_cause is CloseCause.PROTOCOL_ERROR
        other.send_text("still here")
        assert recorder.wait_for("text") == "still here"


def peak_growth(run: Callable[[], None]) -> int:
    """Return by how many bytes the resident memory of this process grew at the most."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


@BOTH
@pytest.mark.parametrize("size", [1 << 62, 100], ids=["whole", "fragments"])
def test_a_deflate_bomb_stops_at_the_limit(
    serve: Serve, compression: CompressionConfig, size: int
) -> None:
    limit = 16 * MIB
    server = serve(Echo(), with_compression(compression, limit))
    # A thousand to one, ten times the limit.
    bomb = b"".join(fragments(deflate(bytes(10 * limit), 9), size))
    assert len(bomb) < 11 * limit / 1000 * 1.2

    def explode() -> None:
        with DeflateClient.offer(server.address) as client:
            client.send(bomb)
            assert client.read_close() == (1009, f"message is larger than {limit} bytes")

    explode()  # what is needed once is there now
    assert peak_growth(explode) <= limit + MIB


def test_many_messages_of_a_thousand_to_one_take_no_memory_at_once(serve: Serve) -> None:
    zeros = bytes(MIB)

    class Comparing(Recorder):
        def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
            self.events.put(("binary", message.payload == zeros))

    recorder = Comparing()
    server = serve(recorder, with_compression(ALONE))
    messages = compressed(zeros, 9) * 100

    def explode() -> None:
        with DeflateClient.offer(server.address) as client:
            client.send(messages)
            for _ in range(100):
                assert recorder.wait_for("binary")

    explode()
    assert peak_growth(explode) <= 8 * MIB


class PollDescriptor(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def something_comes_while_nobody_else_runs_python(client: RawWebSocket) -> bool:
    """Wait for the client's socket with the interpreter's lock held."""
    descriptor = PollDescriptor(client.socket.fileno(), select.POLLIN, 0)
    milliseconds = 10_000
    return bool(ctypes.PyDLL(None).poll(ctypes.byref(descriptor), 1, milliseconds) == 1)


def test_compressing_does_not_need_the_interpreter(serve: Serve) -> None:
    recorder = Recorder()
    with DeflateClient.offer(serve(recorder, with_compression(ALONE)).address) as client:
        recorder.next("established").send_text(STORY)
        assert something_comes_while_nobody_else_runs_python(client)
        assert client.read_message() == (TEXT, STORY.encode(), True)


def test_inflating_does_not_need_the_interpreter(serve: Serve) -> None:
    recorder = Recorder()
    with DeflateClient.offer(serve(recorder, with_compression(TAKEOVER)).address) as client:
        recorder.next("established")
        payload = deflate(STORY.encode())
        client.send(frame(TEXT, payload[:-5], fin=False, rsv=RSV1) + frame(PING))
        assert something_comes_while_nobody_else_runs_python(client)
        assert client.read_frame().opcode == PONG
        client.send(frame(CONTINUATION, payload[-5:]))
        assert recorder.next("text") == STORY


def test_a_handler_has_its_own_settings(serve: Serve) -> None:
    recorder = Recorder()
    paths = PathHandler()
    paths.add("/server", WebSocketHandler(recorder))
    paths.add("/none", WebSocketHandler(recorder, compression=None))
    paths.add("/own", WebSocketHandler(recorder, compression=TAKEOVER))
    server = serve(paths, with_compression(ALONE))
    alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    for path, expected in [("/server", alone), ("/none", ""), ("/own", "permessage-deflate")]:
        with DeflateClient.offer(server.address, "permessage-deflate", path) as client:
            assert client.extensions == expected
            assert recorder.wait_for("established").extensions == expected
