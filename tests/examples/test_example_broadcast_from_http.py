"""examples/broadcast_from_http.py: what is POSTed reaches every listener."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
import websocket
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example


def ask(
    example: Example, method: str, path: str, body: bytes = b""
) -> tuple[int, http.client.HTTPMessage, str]:
    """Make a request; return the status, the headers and the body."""
    connection = http.client.HTTPConnection(example.host, example.port, timeout=5)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def test_a_post_reaches_all_listeners(start: Callable[[str], Example]) -> None:
    example = start("broadcast_from_http.py")
    one = websocket.create_connection(example.url("/ws"), timeout=5)
    with connect(example.url("/ws")) as other:
        # A connection is in the manager's hands a moment after its handshake: a pong proves it.
        one.ping()
        assert one.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PONG
        assert other.ping().wait(5)

        for text in ("Lunch is ready", "Frühstück! 🥐", ""):
            status, _, answer = ask(example, "POST", "/broadcast", text.encode())
            assert (status, answer) == (200, "Sent to 2 listeners.\n")
            assert one.recv() == text
            assert other.recv(timeout=5) == text
    one.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/broadcast", 405), ("GET", "/nowhere", 404), ("GET", "/ws", 426)],
)
def test_other_requests_are_refused(
    start: Callable[[str], Example], method: str, path: str, status: int
) -> None:
    got, headers, _ = ask(start("broadcast_from_http.py"), method, path)
    assert got == status
    if status == 405:
        assert headers["Allow"] == "POST"
