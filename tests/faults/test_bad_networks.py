"""Clients behind a network that delays, chops, stalls, and cuts."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from handy_ws import CloseCause, CloseCode, WebSocketConfig

from tests.faults.proxy import Proxy
from tests.process import open_descriptors
from tests.websocket.answering import Answering
from tests.websocket.raw_websocket import BINARY, PING, PONG, TEXT, RawWebSocket, frame
from tests.websocket.recorder import PATIENCE, Echo, Recorder, wait_until

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

pytestmark = pytest.mark.alone


class RecordingEcho(Recorder, Echo):
    """Answers messages with themselves, and notes the other callbacks."""

    on_text_message = Echo.on_text_message
    on_binary_message = Echo.on_binary_message


def pong(client: RawWebSocket) -> None:
    client.send(frame(PING, b"?"))
    received = client.read_frame()
    assert (received.opcode, received.payload) == (PONG, b"?")


def test_nothing_is_lost_in_a_network_that_delays_and_chops(serve: Serve) -> None:
    server = serve(Echo())
    with (
        Proxy(server.address, delay=0.005, chunk=7) as proxy,
        RawWebSocket.open(proxy.address) as client,
    ):
        for number in range(100):
            client.send_text(f"{number} " + "ü" * number)
        for number in range(100):
            assert client.read_text() == f"{number} " + "ü" * number
        client.send_close(4001, "done")
        assert client.read_close() == (4001, "done")
        assert client.read_end() == b""


@pytest.mark.parametrize("where", ["in the handshake", "in a message", "in an answer"])
def test_a_link_that_is_cut_ends_its_connection_and_no_other(serve: Serve, where: str) -> None:
    recorder = RecordingEcho()
    server = serve(recorder)
    with RawWebSocket.open(server.address) as other:
        recorder.next("established")
        before = open_descriptors()
        with Proxy(server.address) as proxy:
            client = RawWebSocket(proxy.address)
            link = proxy.link(0)
            if where == "in the handshake":
                client.send(b"GET / HTTP/1.1\r\nHost: ")
                wait_until(lambda: link.up.passed > 0)
            else:
                client.upgrade()
                connection = recorder.next("established")
                link.down.stall()
                message = frame(BINARY, b"x" * 3000)
                client.send(message if where == "in an answer" else message[:2000])
                pong(other)
            link.cut()
            if where != "in the handshake":
                assert recorder.next("closed") is connection
                assert connection.close_cause is CloseCause.NETWORK_ERROR
                assert connection.close_code == CloseCode.ABNORMAL
            client.socket.close()
            pong(other)
        wait_until(lambda: open_descriptors() <= before)


def test_a_network_that_stalls_costs_its_clients_only(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(ping_interval=0.3, ping_timeout=0.7))
    with Proxy(server.address) as proxy, ExitStack() as stack:
        near = stack.enter_context(RawWebSocket.open(server.address))
        far = [stack.enter_context(RawWebSocket.open(proxy.address)) for _ in range(20)]
        for _ in range(21):
            recorder.next("established")
        with Answering([near, *far]) as answering:
            for number in range(len(far)):
                proxy.link(number).up.stall()
                proxy.link(number).down.stall()
            begin = time.monotonic()
            for _ in far:
                connection = recorder.next("closed")
                assert connection.close_cause is CloseCause.PING_TIMEOUT
            took = time.monotonic() - begin
            print(f"given up after {took:.2f} s")
            assert took < 0.3 + 0.7 + 5.0, "a busy machine takes its time"
            assert near not in answering.ended
    assert server.websocket_manager.stats().connections <= 1


def test_a_network_that_stalls_for_a_while_loses_nothing(serve: Serve) -> None:
    recorder = RecordingEcho()
    server = serve(recorder, WebSocketConfig(ping_interval=0.1, ping_timeout=20.0))
    with Proxy(server.address) as proxy, RawWebSocket.open(proxy.address) as client:
        connection = recorder.next("established")
        link = proxy.link(0)
        link.down.stall()
        for number in range(50):
            client.send_text(f"echo {number}")
            assert connection.is_open
            server.websocket_manager.broadcast(f"broadcast {number}")
        link.down.resume()
        seen: dict[str, list[int]] = {"echo": [], "broadcast": []}
        while min(len(numbers) for numbers in seen.values()) < 50:
            received = client.read_frame()
            if received.opcode == TEXT:
                kind, which = received.payload.decode().split(" ")
                seen[kind].append(int(which))
        assert list(seen.values()) == [list(range(50))] * 2


def test_a_reader_that_is_too_slow_gets_whole_frames_and_then_the_close(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(send_queue_limit=64 * 1024, close_timeout=20.0))
    with Proxy(server.address) as proxy:
        client = RawWebSocket.open(proxy.address, receive_buffer=4096)
        connection = recorder.next("established")
        proxy.link(0).down.stall()
        sent = threading.Event()

        def flood() -> None:
            for number in range(100_000):
                server.websocket_manager.broadcast(f"{number:06} " + "x" * (number % 5000))
                if not connection.is_open:
                    break
            sent.set()

        thread = threading.Thread(target=flood)
        thread.start()
        assert sent.wait(PATIENCE)
        thread.join()
        proxy.link(0).down.resume()
        number = 0
        while (received := client.read_frame()).opcode == TEXT:
            assert received.payload.decode() == f"{number:06} " + "x" * (number % 5000)
            number += 1
        print(f"{number} whole frames before the CLOSE")
        assert received.payload[:2] == CloseCode.POLICY_VIOLATION.to_bytes(2, "big")
        client.send_close(CloseCode.POLICY_VIOLATION)
        assert client.read_end() == b""
        assert recorder.next("close")[0] == CloseCode.POLICY_VIOLATION
        assert recorder.next("closed").close_cause is CloseCause.SLOW_CONSUMER
        client.socket.close()
