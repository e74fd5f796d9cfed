"""Clients that read slowly or not at all: what is dropped, and what is counted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, get_args

import pytest
from handy_ws import (
    ConnectionClosed,
    ManagerStats,
    SendResult,
    WebSocketConfig,
    WebSocketManager,
)

from tests.websocket.raw_websocket import PING, TEXT, RawWebSocket
from tests.websocket.recorder import PATIENCE, Recorder
from tests.websocket.slow import (
    FRAME_SIZE,
    LIMIT,
    Drained,
    Policy,
    config,
    jam,
    numbered,
    read_numbers,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.websocket.conftest import Serve


def stats_when(
    manager: WebSocketManager, condition: Callable[[ManagerStats], bool]
) -> ManagerStats:
    """Return the counters when they are as they should be, or the last ones."""
    turned = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        stats = manager.stats()
        if condition(stats):
            return stats
        turned.wait(0.01)  # they are published at the end of a turn
    return manager.stats()


# What is dropped


def test_the_newest_are_dropped_and_the_sender_is_told(serve: Serve) -> None:
    recorder = Drained()
    server = serve(recorder, config("drop_newest"))
    with RawWebSocket.open(server.address) as client, ThreadPoolExecutor(1) as pool:
        connection = recorder.next("established")
        results = [connection.send_text(numbered(number)) for number in range(300)]
        accepted = [n for n, result in enumerate(results) if result is not SendResult.DROPPED]
        assert SendResult.QUEUED in results
        assert SendResult.BACKPRESSURE in results
        assert len(accepted) < len(results)
        assert connection.buffered_bytes <= LIMIT
        assert connection.is_open
        reading = pool.submit(read_numbers, client)
        assert connection.wait_drained(PATIENCE)
        assert connection.send_text("last") is SendResult.QUEUED
        assert reading.result() == accepted
        assert recorder.next("drain") is connection
        dropped = len(results) - len(accepted)
        stats = stats_when(
            server.websocket_manager, lambda stats: stats.messages_sent == len(accepted) + 1
        )
        assert stats.messages_sent == len(accepted) + 1
        assert (stats.messages_dropped, stats.bytes_dropped) == (dropped, dropped * FRAME_SIZE)


def test_the_oldest_are_dropped_for_the_newest(serve: Serve) -> None:
    recorder = Drained()
    server = serve(recorder, config("drop_oldest"))
    with (
        RawWebSocket.open(server.address) as client,
        RawWebSocket.open(server.address) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        connection = recorder.next("established")
        recorder.next("established")
        for number in range(300):
            assert connection.send_text(numbered(number)) is not SendResult.DROPPED
            if number % 4 == 0:
                settle(other)
        settle(other)
        assert connection.buffered_bytes <= LIMIT
        reading = pool.submit(read_numbers, client)
        assert connection.wait_drained(PATIENCE)
        connection.send_text("last")
        numbers = reading.result()
        assert numbers == sorted(numbers)
        assert numbers[0] == 0
        assert numbers[-5:] == [295, 296, 297, 298, 299]
        assert recorder.next("drain") is connection
        dropped = 300 - len(numbers)
        assert dropped > 0
        stats = server.websocket_manager.stats()
        assert (stats.messages_dropped, stats.bytes_dropped) == (dropped, dropped * FRAME_SIZE)


@pytest.mark.parametrize("policy", get_args(Policy))
def test_broadcasts_reach_the_others_and_the_counters_are_what_was_received(
    serve: Serve, policy: Policy
) -> None:
    stalled_count, reader_count, count = 4, 6, 200
    recorder = Drained()
    server = serve(recorder, config(policy))
    manager = server.websocket_manager
    stalled = [RawWebSocket.open(server.address) for _ in range(stalled_count)]
    slow = [recorder.next("established") for _ in stalled]
    readers = [RawWebSocket.open(server.address) for _ in range(reader_count)]
    for number in range(count):
        assert manager.broadcast(numbered(number)) is SendResult.QUEUED
        for client in readers:
            assert client.read_text() == numbered(number)
    assert [connection.is_open for connection in slow] == [policy != "close"] * stalled_count
    assert all(connection.buffered_bytes <= LIMIT for connection in slow)
    received = reader_count * count
    if policy == "close":
        received += sum(client.read_until_close()[0] for client in stalled)
    else:
        with ThreadPoolExecutor(stalled_count) as pool:
            reading = [pool.submit(read_numbers, client) for client in stalled]
            for connection in slow:
                assert connection.wait_drained(PATIENCE)
                connection.send_text("last")
            for numbers in (future.result() for future in reading):
                assert (numbers[-1] == count - 1) is (policy == "drop_oldest")
                received += len(numbers) + 1
    stats = stats_when(manager, lambda stats: stats.messages_sent == received)
    assert stats.messages_sent == received
    assert stats.messages_dropped > 0
    assert stats.bytes_dropped == stats.messages_dropped * FRAME_SIZE
    if policy != "close":  # whoever is closed gets no broadcasts any more
        sent = (stalled_count + reader_count) * count + stalled_count
        assert stats.messages_sent + stats.messages_dropped == sent
    for client in stalled + readers:
        client.reset()


@pytest.mark.parametrize("policy", get_args(Policy))
def test_what_a_connection_leaves_behind_is_counted(serve: Serve, policy: Policy) -> None:
    recorder = Recorder()
    server = serve(recorder, config(policy))
    client = RawWebSocket.open(server.address)
    connection = recorder.next("established")
    attempts = 0
    try:
        for attempts in range(500):
            connection.send_text(numbered(attempts))
        attempts = 500
    except ConnectionClosed:
        assert policy == "close"
    client.reset()
    recorder.wait_for("closed")
    stats = stats_when(server.websocket_manager, lambda stats: stats.connections == 0)
    assert stats.messages_sent + stats.messages_dropped == attempts
    assert stats.messages_dropped > 0
    assert stats.queue_bytes == 0


# Broadcasts that wait for the loop


def test_broadcasts_that_wait_for_the_loop_are_bounded() -> None:
    manager = WebSocketManager(WebSocketConfig(broadcast_queue_limit=4 * FRAME_SIZE))
    assert manager.broadcast("nobody") is SendResult.QUEUED
    manager.core.open()  # nobody takes anything before it runs
    results = [manager.broadcast(numbered(number)) for number in range(6)]
    assert (
        results
        == [SendResult.QUEUED] * 2 + [SendResult.BACKPRESSURE] * 2 + [SendResult.DROPPED] * 2
    )
    assert manager.broadcast(b"") is SendResult.DROPPED
    assert manager.stats().broadcasts_dropped == 3
    assert manager.stats().messages_dropped == 0
    manager.core.shut_down(PATIENCE)
    manager.core.finish()
    manager.core.run()
    assert manager.broadcast("nobody") is SendResult.QUEUED


def test_pings_count_as_no_messages(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, config("drop_newest"))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        connection.ping(b"1")
        assert client.read_frame().opcode == PING
        queued = jam(connection, server, recorder)
        dropped = server.websocket_manager.stats().messages_dropped
        while connection.ping(b"x" * 125) is not SendResult.DROPPED:
            pass
        for _ in range(queued):
            assert client.read_frame().opcode in {TEXT, PING}
        stats = stats_when(server.websocket_manager, lambda stats: stats.messages_sent == queued)
        assert (stats.messages_sent, stats.messages_dropped) == (queued, dropped)
