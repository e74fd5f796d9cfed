"""examples/printer.py: all five callbacks, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import websocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.examples.example_process import hang_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example


def test_prints_everything_in_order_and_answers_nothing(start: Callable[[str], Example]) -> None:
    printer = start("printer.py")
    with connect(printer.url()) as client:
        number = printer.wait_for_line(r"^#(\d+) connected from \('127\.0\.0\.1', \d+\)$")[1]
        client.send("Grüße, 世界 👋")
        printer.wait_for_line(f"^#{number} text: 'Grüße, 世界 👋'$")
        client.send(b"\x00\xff")
        printer.wait_for_line(f"^#{number} binary: 00 ff$")
        client.close(4001, "enough")
    printer.wait_for_line(f"^#{number} says bye: 4001 'enough'$")
    printer.wait_for_line(f"^#{number} closed: CloseCause.PEER$")
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=5)


def test_a_client_that_vanishes_is_closed_without_a_goodbye(
    start: Callable[[str], Example],
) -> None:
    printer = start("printer.py")
    client = websocket.create_connection(printer.url(), timeout=5)
    number = printer.wait_for_line(r"^#(\d+) connected")[1]
    hang_up(client, reset=True)
    # The very next line, so there was none about a close message.
    assert printer.wait_for_line("").string == f"#{number} closed: CloseCause.NETWORK_ERROR"
