"""Giving a socket away: the seam between HTTP and WebSocket, with fakes on the other side."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpResponse

from tests.http.conftest import poll
from tests.http.raw_http import get

if TYPE_CHECKING:
    import socket

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

HEADERS = [("Upgrade", "fake"), ("Connection", "Upgrade"), ("X-Accept", "yes")]


class Taker:
    """A handler that upgrades, and keeps what it is given."""

    def __init__(self) -> None:
        self.taken: SimpleQueue[tuple[socket.socket, bytes]] = SimpleQueue()
        self.thread = ""

    def __call__(self, context: HttpRequestContext) -> None:
        if context.head.path == "/plain":
            return
        context.upgrade(HEADERS, self.take)

    def take(self, sock: socket.socket, response: bytes, leftover: bytes) -> None:
        self.thread = threading.current_thread().name
        sock.send(response)
        self.taken.put((sock, leftover))


def test_a_socket_is_given_away(serve: Serve) -> None:
    taker = Taker()
    client = serve.client(serve(taker))
    response = client.get()
    assert (response.status, response.headers) == (101, HEADERS)
    sock, leftover = taker.taken.get(timeout=10)
    with sock:
        assert leftover == b""
        assert sock.gettimeout() == 0
        assert os.get_blocking(sock.fileno()) is False
        sock.send(b"raw")
        assert client.exactly(3) == b"raw"
    assert taker.thread.startswith("handy-ws-http-")


def test_bytes_behind_the_head_go_with_the_socket(serve: Serve) -> None:
    taker = Taker()
    client = serve.client(serve(taker))
    assert client.request(get() + b"\x81\x05more").status == 101
    sock, leftover = taker.taken.get(timeout=10)
    sock.close()
    assert leftover == b"\x81\x05more"


def test_the_head_may_come_in_pieces(serve: Serve) -> None:
    taker = Taker()
    server = serve(taker)
    client = serve.client(server)
    assert client.get("/plain").status == 200
    for byte in get() + b"\x00":
        client.send(bytes([byte]))
    assert client.response().status == 101
    sock, leftover = taker.taken.get(timeout=10)
    with sock:
        # It is out of the poller: nobody but us gets to see what comes now.
        client.send(b"late")
        sock.settimeout(10)
        received = leftover
        while len(received) < 5:
            received += sock.recv(100)
        assert received == b"\x00late"
        assert serve.client(server).get("/plain").status == 200


def test_an_upgrade_behind_pipelined_requests(serve: Serve) -> None:
    taker = Taker()
    client = serve.client(serve(taker))
    client.send(get("/plain") * 3 + get() + b"x")
    for _ in range(3):
        assert client.response().status == 200
    assert client.response().status == 101
    sock, leftover = taker.taken.get(timeout=10)
    sock.close()
    assert leftover == b"x"


def test_the_callee_may_detach_the_descriptor(serve: Serve) -> None:
    descriptors: SimpleQueue[int] = SimpleQueue()

    def handle(context: HttpRequestContext) -> None:
        context.upgrade((), lambda sock, _, __: descriptors.put(sock.detach()))

    server = serve(handle)
    client = serve.client(server)
    client.send(get())
    descriptor = descriptors.get(timeout=10)
    server.stop()
    os.write(descriptor, b"still open")
    os.close(descriptor)
    assert client.to_end() == b"still open"


def test_a_response_cancels_the_upgrade(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        context.upgrade((), lambda _, __, ___: pytest.fail("taken over"))
        return HttpResponse("no", 403)

    client = serve.client(serve(handle))
    assert client.get().status == 403
    assert client.get().status == 403


def test_an_exception_cancels_the_upgrade(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        context.upgrade((), lambda _, __, ___: pytest.fail("taken over"))
        raise ZeroDivisionError

    assert serve.client(serve(handle)).get().status == 500


def test_a_failing_take_over_is_logged_and_the_socket_closed(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/":
            context.upgrade((), lambda _, __, ___: 1 // 0)  # type: ignore[arg-type]

    server = serve(handle, workers=1)
    client = serve.client(server)
    client.send(get())
    assert client.is_closed()
    poll(lambda: "taking over" in caplog.text)
    assert serve.client(server).get("/plain").status == 200


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "a\0", "\u20ac"])
def test_nothing_can_be_injected_into_the_101(serve: Serve, value: str) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.upgrade([("Sec-WebSocket-Protocol", value)], lambda sock, _, __: sock.close())

    response = serve.client(serve(handle)).get()
    assert response.status == 500
    assert response.get("X-Evil") is None
