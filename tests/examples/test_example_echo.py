"""examples/echo.py, with two independent clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import websocket
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example

MESSAGES: list[str | bytes] = ["", "hello", b"", bytes(range(256)), "👋" * 10_000, b"x" * 200_000]


def test_echoes_text_and_binary_to_websockets(start: Callable[[str], Example]) -> None:
    with connect(start("echo.py").url()) as client:
        for message in MESSAGES:
            client.send(message)
        assert [client.recv(timeout=5) for _ in MESSAGES] == MESSAGES


def test_echoes_text_and_binary_to_websocket_client(start: Callable[[str], Example]) -> None:
    client = websocket.create_connection(start("echo.py").url(), timeout=5)
    for message in MESSAGES:
        if isinstance(message, str):
            client.send(message)
        else:
            client.send_binary(message)
        assert client.recv() == message
    client.close()
