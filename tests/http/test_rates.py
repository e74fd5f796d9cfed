"""Clients that send or take something have to keep a rate, and may take as long as that allows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpResponse, HttpServer
from handy_ws.http.connection import Connection, State

from tests.http.conftest import poll
from tests.http.raw_http import get, post

if TYPE_CHECKING:
    from handy_ws import HttpRequestContext

    from tests.http.conftest import Clock, Serve
    from tests.http.raw_http import RawClient

#: In which nothing happens by itself: a second more or less makes no difference.
GRACE = 50.0
PAUSE = 200.0
RATE = 100.0
ENOUGH = int(RATE * GRACE)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def size(context: HttpRequestContext) -> None:
    context.response.data = str(len(context.request.get_data()))


def settings(**others: Any) -> dict[str, Any]:
    return {"rate_grace": GRACE, "body_timeout": PAUSE, "workers": 1, **others}


def waiting(server: HttpServer, state: State) -> Connection:
    """Wait until the one connection of a server waits in that state."""
    run = server._run
    assert run is not None
    deadlines = run.acceptor._room.deadlines
    poll(lambda: deadlines.count(state) == 1)
    return deadlines.waiting(state)[0]


class Upload:
    """A client that sends a body in parts, each of which the server has read before the next."""

    def __init__(self, client: RawClient, server: HttpServer, length: int) -> None:
        self._client = client
        client.send(post("/", b"").replace(b"Length: 0", b"Length: %d" % length))
        self._connection = waiting(server, State.READING_BODY)
        self._sent = 0

    def send(self, count: int) -> None:
        self._client.send(b"x" * count)
        self._sent += count
        poll(lambda: self._connection.body is None or self._connection.body.size == self._sent)


# Bodies


def test_a_body_slower_than_the_rate_gets_408_though_its_longest_pause_is_not_over(
    serve: Serve, clock: Clock
) -> None:
    server = serve(size, min_body_rate=RATE, **settings())
    client = serve.client(server)
    upload = Upload(client, server, 100_000)
    upload.send(ENOUGH - 1)
    clock.let_pass(GRACE, server)
    response = client.response()
    assert (response.status, response.get("Connection")) == (408, "close")
    assert b"too slowly" in response.body
    assert client.is_closed()


def test_a_large_body_may_take_as_long_as_it_keeps_the_rate(serve: Serve, clock: Clock) -> None:
    server = serve(size, min_body_rate=RATE, **settings())
    client = serve.client(server)
    upload = Upload(client, server, 20 * ENOUGH)
    for _ in range(19):  # many times the longest pause
        upload.send(ENOUGH)
        clock.let_pass(GRACE, server)
    client.send(b"x" * ENOUGH)
    assert client.response().body == b"%d" % (20 * ENOUGH)


def test_a_body_that_was_fast_may_pause_and_not_for_ever(serve: Serve, clock: Clock) -> None:
    server = serve(size, min_body_rate=RATE, **settings())
    client = serve.client(server)
    upload = Upload(client, server, 10_000_000)
    for _ in range(3):
        upload.send(1_000_000)
        for _ in range(4):  # the longest pause
            clock.let_pass(GRACE, server)
    clock.let_pass(GRACE, server)
    assert client.response().status == 408


def test_chunks_count_by_what_is_in_them(serve: Serve, clock: Clock) -> None:
    server = serve(size, min_body_rate=RATE, **settings())
    client = serve.client(server)
    client.send(CHUNKED)
    connection = waiting(server, State.READING_BODY)
    client.send(b"1;%b\r\nx\r\n" % (b"y" * 500) * 20)
    poll(lambda: connection.body is not None and connection.body.size == 20)
    clock.let_pass(GRACE, server)
    assert client.response().status == 408


def test_without_a_rate_a_body_may_come_byte_by_byte(serve: Serve, clock: Clock) -> None:
    server = serve(size, min_body_rate=None, **settings())
    client = serve.client(server)
    upload = Upload(client, server, 12)
    for _ in range(3):
        upload.send(1)
        for _ in range(4):
            clock.let_pass(GRACE, server)
    clock.let_pass(GRACE, server)
    assert client.response().status == 408


def test_a_longest_pause_that_is_shorter_than_the_grace_counts(serve: Serve) -> None:
    client = serve.client(serve(size, body_timeout=0.05))
    client.send(post("/", b"hello")[:-1])
    assert client.response().status == 408


# Responses


class Download:
    """A client that takes a response in parts, of which the server learns at once."""

    def __init__(self, client: RawClient, server: HttpServer) -> None:
        self._client = client
        self._connection = waiting(server, State.WRITING)

    def progress(self) -> int:
        outgoing = self._connection.outgoing
        assert outgoing is not None
        return outgoing.progress

    def delivered(self) -> int:
        outgoing = self._connection.outgoing
        assert outgoing is not None
        return outgoing.delivered(self._connection.sock)

    def take(self, count: int) -> None:
        """Take until the server's side knows of `count` bytes more."""
        until = self.delivered() + count

        def take_some() -> bool:
            self._client.sock.recv(1000)
            return self.delivered() >= until

        poll(take_some)


class Big:
    """A handler with a response that no socket holds, and whether that is over."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, _: HttpRequestContext) -> HttpResponse:
        response = HttpResponse(b"x" * 50_000_000)
        response.call_on_close(self.closed.set)
        return response


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> dict[str, Any]:
    return {"unix_socket": tmp_path / "sock"} if request.param == "unix" else {}


def test_a_client_that_takes_a_response_too_slowly_is_let_go(
    serve: Serve, clock: Clock, place: dict[str, Any]
) -> None:
    handler = Big()
    server = serve(handler, min_send_rate=1e6, **settings(**place))
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    Download(client, server).take(20_000)
    assert not handler.closed.is_set()
    clock.let_pass(GRACE, server)
    poll(handler.closed.is_set)


def test_a_client_that_takes_a_response_at_the_rate_gets_all_the_time_it_needs(
    serve: Serve, clock: Clock, place: dict[str, Any]
) -> None:
    # A unix socket tells what is taken in steps of some ten thousand bytes.
    rate = 1000 if place else RATE
    handler = Big()
    server = serve(handler, min_send_rate=rate, **settings(**place))
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    download = Download(client, server)
    before = download.progress()
    for _ in range(10):  # many times the longest pause
        download.take(int(rate * GRACE))
        clock.let_pass(GRACE, server)
    if not place:
        # The system has no room for more yet, so that nobody else could tell.
        assert download.progress() == before
    assert not handler.closed.is_set()
    for _ in range(6):
        clock.let_pass(GRACE, server)
    poll(handler.closed.is_set)


def test_without_a_rate_a_response_may_be_taken_bit_by_bit(serve: Serve, clock: Clock) -> None:
    handler = Big()
    server = serve(handler, min_send_rate=None, **settings())
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    download = Download(client, server)
    for _ in range(5):
        download.take(1)
        for _ in range(3):
            clock.let_pass(GRACE, server)
    assert not handler.closed.is_set()
    for _ in range(6):
        clock.let_pass(GRACE, server)
    poll(handler.closed.is_set)


def test_what_is_in_flight_is_known(serve: Serve, place: dict[str, Any]) -> None:
    server = serve(Big(), **settings(**place))
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    connection = waiting(server, State.WRITING)
    outgoing = connection.outgoing
    assert outgoing is not None
    assert outgoing.delivered(connection.sock) < outgoing.progress - 10_000
