"""Clients that never read, among others that do, for each policy."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Literal, get_args

import pytest
from handy_ws import ConnectionClosed, WebSocketConfig

from tests.process import resident
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

MIB = 1 << 20
LIMIT = MIB
STALLED, READERS = 16, 4
ROUNDS = 200
SIZE = 32 * 1024

Policy = Literal["close", "drop_newest", "drop_oldest"]


@pytest.mark.parametrize("policy", get_args(Policy))
def test_they_cost_the_limit_in_memory_and_nobody_elses_time(serve: Serve, policy: Policy) -> None:
    recorder = Recorder()
    config = WebSocketConfig(send_queue_limit=LIMIT, slow_consumer=policy, close_timeout=0.5)
    server = serve(recorder, config)
    stalled = [RawWebSocket.open(server.address, receive_buffer=4096) for _ in range(STALLED)]
    slow = [recorder.next("established") for _ in stalled]
    readers = [RawWebSocket.open(server.address) for _ in range(READERS)]
    gc.collect()
    before = resident()
    most = 0
    for number in range(ROUNDS):
        # Each gets something of its own: what is broadcast they would share.
        for connection in slow:
            try:
                connection.send_text(f"{number} {connection.id} ".ljust(SIZE, "x"))
            except ConnectionClosed:
                assert policy == "close"
        server.websocket_manager.broadcast(f"{number} ".ljust(SIZE, "y"))
        for client in readers:
            assert client.read_text() == f"{number} ".ljust(SIZE, "y")
        most = max(most, resident() - before)
    offered = STALLED * ROUNDS * 2 * SIZE
    print(f"{policy}: {most / MIB:.1f} MiB for {offered / MIB:.0f} MiB that nobody has read")
    assert server.websocket_manager.stats().messages_dropped > 0
    assert most < STALLED * LIMIT * 1.1 + 4 * MIB
    assert [connection.is_open for connection in slow] == [policy != "close"] * STALLED
    for client in stalled + readers:
        client.reset()
