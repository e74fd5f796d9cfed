"""Persistent connections, pipelining, and how connections end."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpServer, ServerConfig
from handy_ws.http.connection import Connection, State
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.conftest import wait
from tests.http.raw_http import RawClient, get, post

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.head.target.encode() + context.request.get_data()


def test_a_connection_serves_many_requests(serve: Serve) -> None:
    client = serve.client(serve(echo))
    for number in range(50):
        response = client.get(f"/{number}")
        assert response.body == b"/%d" % number
        assert response.get("Connection") is None


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    client = serve.client(serve(echo, workers=4))
    client.send(b"".join(get(f"/{number}") + post("/p", b"body") for number in range(100)))
    for number in range(100):
        assert client.response().body == b"/%d" % number
        assert client.response().body == b"/pbody"


def test_one_request_of_a_connection_is_in_work_at_a_time(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()
    running: list[str] = []

    def handle(context: HttpRequestContext) -> None:
        running.append(context.head.path)
        if context.head.path == "/1":
            begun.set()
            wait(release)

    server = serve(handle, workers=4)
    client = serve.client(server)
    client.send(get("/1") + get("/2") + get("/3"))
    wait(begun)
    assert serve.client(server).get("/other").status == 200
    assert running == ["/1", "/other"]
    release.set()
    for _ in range(3):
        assert client.response().status == 200
    assert running == ["/1", "/other", "/2", "/3"]


def test_a_client_that_pipelines_without_reading_is_not_read_without_end(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()

    def handle(_: HttpRequestContext) -> None:
        begun.set()
        wait(release)

    server = serve(handle, workers=1)
    client = serve.client(server)
    client.send(get())
    wait(begun)
    client.sock.setblocking(False)
    block = get("/more") * 1000
    # The kernel's buffers fill up, and then it is the client that has to wait.
    with pytest.raises(BlockingIOError):
        send_times(client.sock, block, 2000)


def test_what_a_client_pipelines_is_taken_in_a_little_at_a_time(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()
    targets: list[str] = []

    def handle(context: HttpRequestContext) -> None:
        targets.append(context.head.target)
        begun.set()
        wait(release)

    client = serve.client(serve(handle, workers=2))
    client.send(b"".join(get(f"/{number}") for number in range(2000)))
    wait(begun)
    connections = [each for each in gc.get_objects() if type(each) is Connection]
    # Those of other tests may not be gone yet, but are closed.
    (held,) = (len(each.received) for each in connections if each.state is State.HEAD_READY)
    assert held < 8 * 1024, "the rest stays in the socket"
    assert targets == ["/0"]
    release.set()
    for _ in range(2000):
        assert client.response().status == 200
    assert targets == [f"/{number}" for number in range(2000)]


def send_times(sock: socket.socket, block: bytes, times: int) -> None:
    for _ in range(times):
        sock.send(block)


@pytest.mark.parametrize("field", ["Connection: close", "Connection: x, CLOSE"])
def test_the_client_may_ask_to_close(serve: Serve, field: str) -> None:
    client = serve.client(serve(echo))
    assert client.get("/", field).get("Connection") == "close"
    assert client.is_closed()


def test_http_1_0_closes_unless_asked_not_to(serve: Serve) -> None:
    server = serve(echo)
    client = serve.client(server)
    for _ in range(3):
        response = client.request(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert response.get("Connection") == "keep-alive"
    assert client.request(b"GET / HTTP/1.0\r\n\r\n").get("Connection") == "close"
    assert client.is_closed()


def test_an_idle_connection_is_closed_after_its_time(serve: Serve) -> None:
    client = serve.client(serve(echo, keep_alive_timeout=0.1))
    assert client.get().status == 200
    assert client.is_closed()


def test_a_half_closed_client_gets_its_response(serve: Serve) -> None:
    client = serve.client(serve(echo))
    client.send(get("/last"))
    client.sock.shutdown(socket.SHUT_WR)
    assert client.response().body == b"/last"
    assert client.is_closed()


def test_a_client_that_leaves_between_requests_leaves_nothing(serve: Serve) -> None:
    server = serve(echo, workers=1)
    for _ in range(100):
        with RawClient(server.address) as client:
            assert client.get().status == 200
    assert serve.client(server).get().status == 200


def test_nagle_delays_nothing(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.upgrade((), take_over)

    def take_over(sock: socket.socket, response: bytes, _: bytes) -> None:
        sock.send(response + b"%d" % sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        sock.close()

    client = serve.client(serve(handle))
    assert client.get().status == 101
    assert int(client.to_end()) != 0


# Any cut of the stream gives the same responses

STREAM = b"".join(
    [
        get("/1"),
        post("/2", b"GET /not HTTP/1.1\r\n\r\n"),
        b"\r\n",
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5;x=y\r\nhello\r\n3\r\n\r\n\r\r\n0\r\nTrailer: t\r\n\r\n",
        get("/4", "X-Long: " + "x" * 300),
        post("/5", b"", "Connection: close"),
    ]
)
EXPECTED = [b"/1", b"/2GET /not HTTP/1.1\r\n\r\n", b"/3hello\r\n\r", b"/4", b"/5"]


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpServer]:
    with HttpServer(echo, ServerConfig(port=0, workers=2)) as server:
        yield server


def check_pieces(server: HttpServer, pieces: list[bytes]) -> None:
    with RawClient(server.address) as client:
        for piece in pieces:
            client.send(piece)
        assert [client.response().body for _ in EXPECTED] == EXPECTED
        assert client.is_closed()


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_cut_of_the_stream_gives_the_same_responses(
    shared: HttpServer, cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    check_pieces(shared, [STREAM[a:b] for a, b in pairwise(edges)])


def test_a_stream_byte_by_byte(shared: HttpServer) -> None:
    check_pieces(shared, [STREAM[at : at + 1] for at in range(len(STREAM))])


@given(noise=st.binary(min_size=1, max_size=400), behind_head=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_noise_never_harms_the_server(shared: HttpServer, noise: bytes, behind_head: bool) -> None:
    with RawClient(shared.address) as client:
        client.send((get("/first", "Noise: ")[:-4] if behind_head else b"") + noise)
        client.sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            client.to_end()
    with RawClient(shared.address) as client:
        assert client.get("/alive").body == b"/alive"
