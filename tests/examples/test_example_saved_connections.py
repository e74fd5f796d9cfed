"""examples/saved_connections.py: sends later, from another thread."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import websocket
from websockets.sync.client import connect

from tests.examples.example_process import hang_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example


def seconds(message: object) -> int:
    """Read the time out of a tick."""
    match = re.fullmatch(r"You have been here for (\d+) s\.", str(message))
    assert match, message
    return int(match[1])


def test_ticks_for_everybody_and_forgets_who_left(start: Callable[[str], Example]) -> None:
    example = start("saved_connections.py")
    with connect(example.url()) as patient:
        first = seconds(patient.recv(timeout=5))
        hasty = websocket.create_connection(example.url(), timeout=5)
        assert seconds(hasty.recv()) <= 1
        hang_up(hasty)  # without a goodbye; the ticks for the others go on
        assert seconds(patient.recv(timeout=5)) > first
        assert seconds(patient.recv(timeout=5)) > first + 1
