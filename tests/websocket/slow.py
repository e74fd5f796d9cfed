"""Clients that do not read, and servers for them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

from handy_ws import SendResult, WebSocketConfig

from tests.websocket.raw_websocket import PING, PONG, RawWebSocket, frame
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from handy_ws import HttpServer, WebSocketConnection

Policy = Literal["close", "drop_newest", "drop_oldest"]
LIMIT = 256 * 1024
#: The system takes some megabytes before anything waits.
TEXT_SIZE = 30_000
FRAME_SIZE = TEXT_SIZE + 4


class Drained(Recorder):
    """Notes drains, too."""

    def on_drain(self, connection: WebSocketConnection) -> None:
        self.events.put(("drain", connection))


def config(policy: Policy) -> WebSocketConfig:
    return WebSocketConfig(send_queue_limit=LIMIT, slow_consumer=policy)


def numbered(number: int) -> str:
    return f"{number:0{TEXT_SIZE}}"


def read_numbers(client: RawWebSocket, last: str = "last") -> list[int]:
    """Return the numbers of the messages that come before the last one."""
    numbers = []
    while (text := client.read_text()) != last:
        assert len(text) == TEXT_SIZE
        numbers.append(int(text[-9:]))
    return numbers


def fill(connection: WebSocketConnection, first: int = 0) -> int:
    """Send until a message is dropped, and return its number. Not with the policy close."""
    for number in itertools.count(first):
        if connection.send_text(numbered(number)) is SendResult.DROPPED:
            return number
    raise AssertionError


def settle(client: RawWebSocket) -> None:
    """Wait until the loop has taken what was sent, and has flushed it.

    The first answer may come out of a turn that has begun before.
    """
    for _ in range(2):
        client.send(frame(PING))
        while client.read_frame().opcode != PONG:
            pass


def jam(connection: WebSocketConnection, server: HttpServer, recorder: Recorder) -> int:
    """Send until the system takes nothing more and the queue is full: how many were queued.

    What the recorder has noted meanwhile is forgotten.
    """
    number = before = 0
    with RawWebSocket.open(server.address) as other:
        while not LIMIT // 2 < before == connection.buffered_bytes:
            number = fill(connection, number)
            settle(other)
            before = connection.buffered_bytes
            settle(other)
        other.send_close()
        recorder.wait_for("closed")
    return number
