"""Request bodies that a handler reads while they come."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.validate import validator

import pytest
from flask import Flask, request
from handy_ws import (
    HttpRequestHandler,
    HttpResponse,
    HttpServer,
    PathHandler,
    ServerConfig,
    WsgiHandler,
)
from handy_ws.http import waiting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException, abort

from tests.http.conftest import poll, server_threads, wait
from tests.http.raw_http import DEADLINE, RawClient, get, post
from tests.http.test_stream import GREETING, Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from handy_ws import HttpRequestContext

    from tests.certificates import Authority
    from tests.http.conftest import Clock, Serve

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Streaming(HttpRequestHandler):
    """Calls a function with the context, whose body is a stream."""

    stream_body = True

    def __init__(self, function: Callable[[HttpRequestContext], HttpResponse | None]) -> None:
        self._function = function

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        return self._function(context)


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.head.target.encode() + context.request.stream.read()


def head(length: int, *fields: str, target: str = "/") -> bytes:
    """Return the head of a POST request without its body."""
    return post(target, b"", *fields).replace(b"Length: 0", b"Length: %d" % length)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody keep a body in memory or in a file."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a body was kept")

    monkeypatch.setattr("handy_ws.http.body.SpooledTemporaryFile", fail)


class Place(NamedTuple):
    """Where clients connect, and what they connect with."""

    settings: dict[str, Any]
    options: dict[str, Any]


@pytest.fixture(params=["plain", "unix", "TLS 1.2", "TLS 1.3"])
def place(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Place:
    match request.param:
        case "plain":
            return Place({}, {})
        case "unix":
            return Place({"unix_socket": tmp_path / "sock"}, {})
        case tls:
            version = tls.removeprefix("TLS ")
            return Place({"tls": authority.server.config()}, {"context": authority.client(version)})


# Reading


def test_the_handler_gets_each_part_as_it_comes(serve: Serve, place: Place) -> None:
    parts: SimpleQueue[bytes] = SimpleQueue()

    def handle(context: HttpRequestContext) -> None:
        while part := context.request.stream.read1():  # type: ignore[attr-defined]
            parts.put(part)
        parts.put(b"")

    client = serve.client(serve(Streaming(handle), **place.settings), **place.options)
    client.send(head(10))
    for part in (b"one", b"two", b"four"):
        client.send(part)
        assert parts.get(timeout=DEADLINE) == part
    assert parts.get(timeout=DEADLINE) == b""
    assert client.response().status == 200
    client.send(CHUNKED)
    for part in (b"one", b"two", b"four"):
        client.send(b"%x\r\n%b\r\n" % (len(part), part))
        assert parts.get(timeout=DEADLINE) == part
    client.send(b"0\r\nTrailer: ignored\r\n\r\n")
    assert parts.get(timeout=DEADLINE) == b""
    assert client.response().status == 200
    assert client.get().status == 200


@pytest.mark.usefixtures("no_files")
def test_a_long_body_is_kept_nowhere(serve: Serve, place: Place) -> None:
    def handle(context: HttpRequestContext) -> None:
        stream, size = context.request.stream, 0
        while part := stream.read(100_000):
            assert set(part) == {120}
            size += len(part)
        context.response.data = str(size)

    client = serve.client(
        serve(Streaming(handle), max_body_size=2**40, **place.settings), **place.options
    )
    client.send(head(10_000_000))
    for _ in range(10):
        client.send(b"x" * 1_000_000)
    assert client.response().body == b"10000000"


def test_it_reads_as_a_file_does(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        stream = context.request.stream
        lines = [stream.readline(), stream.read(3), stream.readline(), *stream, stream.read()]
        context.response.data = repr(lines)

    client = serve.client(serve(Streaming(handle)))
    client.send(head(24))
    for byte in b"first\nthen 2nd\nlast\nrest":
        client.send(bytes([byte]))
    expected = [b"first\n", b"the", b"n 2nd\n", b"last\n", b"rest", b""]
    assert client.response().body == repr(expected).encode()


def test_what_werkzeug_reads_of_a_body_it_reads_of_a_stream(serve: Serve, place: Place) -> None:
    def handle(context: HttpRequestContext) -> None:
        request = context.request
        if request.mimetype == "application/json":
            context.response.data = request.get_json()["key"]
        elif request.mimetype == "multipart/form-data":
            with closing(request.files["file"]) as file:
                context.response.data = file.read()
        else:
            context.response.data = request.form["a"]

    client = serve.client(serve(Streaming(handle), **place.settings), **place.options)
    form = "Content-Type: application/x-www-form-urlencoded"
    assert client.request(post("/", b"a=" + b"x" * 1_000_000, form)).body == b"x" * 1_000_000
    json = "Content-Type: application/json"
    assert client.request(post("/", b'{"key": "value"}', json)).body == b"value"
    field = b'Content-Disposition: form-data; name="file"; filename="f"'
    parts = b"--b\r\n" + field + b"\r\n\r\n%b\r\n--b--\r\n"
    multipart = "Content-Type: multipart/form-data; boundary=b"
    big = bytes(range(256)) * 4000
    assert client.request(post("/", parts % big, multipart)).body == big


def test_a_request_without_a_body_has_an_empty_stream(serve: Serve) -> None:
    client = serve.client(serve(Streaming(echo)))
    assert client.get("/a").body == b"/a"
    assert client.request(post("/b", b"")).body == b"/b"
    assert client.request(CHUNKED + b"0\r\n\r\n").body == b"/"


STREAM = b"".join(
    [
        post("/1", b"GET /not HTTP/1.1\r\n\r\n"),
        get("/2"),
        CHUNKED,
        b"5;x=y\r\nhello\r\n3\r\n\r\n\r\r\n0\r\nTrailer: t\r\n\r\n",
        post("/3", b"x" * 300),
        post("/4", b"last", "Connection: close"),
    ]
)
EXPECTED = [b"/1GET /not HTTP/1.1\r\n\r\n", b"/2", b"/hello\r\n\r", b"/3" + b"x" * 300, b"/4last"]


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpServer]:
    with HttpServer(Streaming(echo), ServerConfig(port=0, workers=2)) as server:
        yield server


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_cut_of_the_stream_gives_the_same_responses(
    shared: HttpServer, cuts: list[int]
) -> None:
    check_pieces(shared, [STREAM[a:b] for a, b in pairwise([0, *sorted(cuts), len(STREAM)])])


def test_a_stream_byte_by_byte(shared: HttpServer) -> None:
    check_pieces(shared, [STREAM[at : at + 1] for at in range(len(STREAM))])


def check_pieces(server: HttpServer, pieces: list[bytes]) -> None:
    with RawClient(server.address) as client:
        for piece in pieces:
            client.send(piece)
        assert [client.response().body for _ in EXPECTED] == EXPECTED
        assert client.is_closed()


def test_a_pipelined_request_waits_for_the_end_of_the_body(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()
    seen: list[str] = []

    def handle(context: HttpRequestContext) -> None:
        seen.append(context.head.path)
        if context.head.path == "/1":
            assert context.request.stream.read() == b"body"
            begun.set()
            wait(release)

    client = serve.client(serve(Streaming(handle), workers=4))
    client.send(head(4, target="/1"))
    client.send(b"body" + get("/2") + get("/3"))
    wait(begun)
    assert seen == ["/1"]
    release.set()
    for _ in range(3):
        assert client.response().status == 200
    assert seen == ["/1", "/2", "/3"]


def test_the_response_may_be_made_while_the_body_is_read(serve: Serve, place: Place) -> None:
    def parts(context: HttpRequestContext) -> Iterator[bytes]:
        while part := context.request.stream.read1():  # type: ignore[attr-defined]
            yield part.upper()

    client = serve.client(
        serve(Streaming(lambda context: HttpResponse(parts(context))), **place.settings),
        **place.options,
    )
    client.send(head(8))
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    client.send(b"four")
    assert client.until(b"FOUR\r\n") == b"4\r\nFOUR\r\n"
    client.send(b"more")
    assert client.until(b"0\r\n\r\n") == b"4\r\nMORE\r\n0\r\n\r\n"
    # The response began before the end was in sight.
    assert client.is_closed()


def test_nobody_reads_the_next_request_with_the_stream_of_the_last_one(serve: Serve) -> None:
    streams: list[Any] = []

    def handle(context: HttpRequestContext) -> None:
        if streams:
            with pytest.raises(ValueError, match="over"):
                streams.pop().read()
        else:
            streams.append(context.request.stream)

    client = serve.client(serve(Streaming(handle)))
    assert client.request(post("/", b"one")).status == 200
    assert client.request(post("/", b"two")).status == 200
    assert streams == []


# Expect: 100-continue


def test_the_client_is_told_to_go_on_by_the_first_read(
    serve: Serve, place: Place, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()

    def handle(context: HttpRequestContext) -> None:
        begun.set()
        wait(release)
        context.response.data = context.request.stream.read()

    client = serve.client(serve(Streaming(handle), **place.settings), **place.options)
    client.send(head(5, "Expect: 100-continue"))
    wait(begun)
    client.sock.setblocking(False)
    with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
        client.sock.recv(1)
    client.sock.settimeout(DEADLINE)
    release.set()
    assert client.response().status == 100
    assert client.request(b"hello").body == b"hello"
    # Once, and the connection goes on.
    assert client.get().status == 200


@pytest.mark.parametrize("status", [401, 403, 413])
def test_a_handler_can_refuse_before_the_body_comes(
    serve: Serve, place: Place, status: int
) -> None:
    client = serve.client(
        serve(Streaming(lambda _: HttpResponse("no", status)), **place.settings), **place.options
    )
    response = client.request(head(10_000_000, "Expect: 100-continue"))
    assert (response.status, response.get("Connection")) == (status, "close")
    assert client.is_closed()


def test_who_sends_at_once_is_not_told(serve: Serve) -> None:
    client = serve.client(serve(Streaming(echo)))
    assert client.request(post("/a", b"body", "Expect: 100-continue")).body == b"/abody"
    old = b"POST /b HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    client.send(old)
    client.send(b"body")
    assert client.response().body == b"/bbody"


def test_nobody_is_told_within_the_response(serve: Serve) -> None:
    def parts(context: HttpRequestContext) -> Iterator[bytes]:
        yield b"begun"
        yield context.request.stream.read()

    client = serve.client(serve(Streaming(lambda context: HttpResponse(parts(context)))))
    client.send(head(4, "Expect: 100-continue"))
    assert client.until(b"begun\r\n").startswith(b"HTTP/1.1 200")
    client.send(b"body")
    assert client.until(b"0\r\n\r\n") == b"4\r\nbody\r\n0\r\n\r\n"


# Bodies that nobody reads


def test_an_unread_body_that_has_come_costs_the_connection_nothing(
    serve: Serve, place: Place
) -> None:
    seen: list[str] = []
    client = serve.client(
        serve(Streaming(lambda context: seen.append(context.head.path)), **place.settings),
        **place.options,
    )
    client.send(post("/1", b"x" * 1000) + CHUNKED + b"4\r\nbody\r\n0\r\n\r\n" + get("/3"))
    for _ in range(3):
        response = client.response()
        assert (response.status, response.get("Connection")) == (200, None)
    assert seen == ["/1", "/", "/3"]


def test_nothing_is_read_behind_a_body_that_has_not_come(serve: Serve, place: Place) -> None:
    seen: list[str] = []
    client = serve.client(
        serve(Streaming(lambda context: seen.append(context.head.path)), **place.settings),
        **place.options,
    )
    client.send(head(10, target="/1"))
    response = client.response()
    assert (response.status, response.get("Connection")) == (200, "close")
    client.send(b"x" * 10 + get("/smuggled"))
    assert client.is_closed()
    assert seen == ["/1"]


@pytest.mark.parametrize("read", [0, 100_000])
def test_a_client_that_sends_all_of_a_refused_body_reads_the_answer(
    serve: Serve, place: Place, read: int
) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        context.request.stream.read(read)
        return HttpResponse("no", 403)

    client = serve.client(serve(Streaming(handle), **place.settings), **place.options)
    response = client.request(post("/", b"x" * 900_000))
    assert (response.status, response.body) == (403, b"no")
    assert client.is_closed()


def test_a_handler_that_fails_before_the_end_of_the_body(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.request.stream.read(1)
        raise ZeroDivisionError

    client = serve.client(serve(Streaming(handle)))
    client.send(head(10) + b"x")
    response = client.response()
    assert (response.status, response.get("Connection")) == (500, "close")
    assert client.is_closed()
    assert "ZeroDivisionError" in caplog.text


def test_a_connection_is_not_given_away_within_a_body(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled = threading.Event()

    def handle(context: HttpRequestContext) -> None:
        context.upgrade([("Upgrade", "x")], lambda *_: pytest.fail("given away"), cancelled.set)

    client = serve.client(serve(Streaming(handle)))
    assert client.request(head(10) + b"x").status == 500
    assert client.is_closed()
    assert cancelled.is_set()
    assert "before the end of its request body" in caplog.text


def test_a_connection_is_given_away_behind_a_body(serve: Serve) -> None:
    taken: SimpleQueue[tuple[socket.socket, bytes]] = SimpleQueue()

    def take_over(sock: socket.socket, response: bytes, received: bytes) -> None:
        sock.send(response)
        taken.put((sock, received))

    def handle(context: HttpRequestContext) -> None:
        context.upgrade([("Upgrade", "x")], take_over)

    client = serve.client(serve(Streaming(handle)))
    assert client.request(post("/", b"body") + b"behind").status == 101
    sock, received = taken.get(timeout=DEADLINE)
    sock.close()
    assert received == b"behind"


# What goes wrong


class Failing:
    """A handler that reads to the end, and keeps what goes wrong."""

    def __init__(self) -> None:
        self.failures: SimpleQueue[HTTPException] = SimpleQueue()
        self._sizes: list[int] = []

    @property
    def read(self) -> int:
        return sum(self._sizes)

    def __call__(self, context: HttpRequestContext) -> None:
        try:
            while part := context.request.stream.read1():  # type: ignore[attr-defined]
                self._sizes.append(len(part))
        except HTTPException as error:
            self.failures.put(error)
            # It fails again, and not in another way.
            context.request.stream.read(1)

    def failure(self) -> HTTPException:
        return self.failures.get(timeout=DEADLINE)


BAD = {
    "too long": (b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n", 413),
    "sign": (b"5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n", 400),
    "data too long": (b"5\r\nhello!\r\n0\r\n\r\n", 400),
    "endless trailers": (b"0\r\n" + b"A: b\r\n" * 5000, 431),
}


@pytest.mark.parametrize("name", BAD)
def test_a_body_that_is_not_one_fails_the_read_and_ends_the_connection(
    serve: Serve, place: Place, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, status = BAD[name]
    handler = Failing()
    client = serve.client(
        serve(Streaming(handler), max_body_size=1000, **place.settings), **place.options
    )
    client.send(CHUNKED + data + get("/smuggled"))
    response = client.response()
    assert (response.status, response.get("Connection")) == (status, "close")
    assert response.body == f"{handler.failure().description}\n".encode()
    assert client.is_closed()
    assert handler.failures.empty()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_a_body_that_says_it_is_too_long_never_gets_to_the_handler(serve: Serve) -> None:
    handler = Failing()
    client = serve.client(serve(Streaming(handler), max_body_size=1000))
    assert client.request(head(1001)).status == 413
    assert client.is_closed()
    assert (handler.read, handler.failures.empty()) == (0, True)


def test_a_body_that_comes_too_slowly_gets_408(serve: Serve, place: Place) -> None:
    handler = Failing()
    client = serve.client(
        serve(Streaming(handler), rate_grace=0.05, workers=1, **place.settings), **place.options
    )
    client.send(head(10) + b"x")
    response = client.response()
    assert (response.status, response.get("Connection")) == (408, "close")
    assert isinstance(handler.failure(), TimeoutError)
    assert client.is_closed()


class Slow:
    """A client whose handler reads bit by bit, and a clock for both."""

    def __init__(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, rate: float | None) -> None:
        self._ahead = 0.0
        self._asked = 0
        monkeypatch.setattr("handy_ws.http.body_stream.monotonic", self._clock)
        monkeypatch.setattr("handy_ws.http.body_stream._PATIENCE", math.inf)
        self.handler = Failing()
        # Long enough that nothing happens by itself.
        limits = {"rate_grace": 50, "body_timeout": 200, "min_body_rate": rate}
        self.client = serve.client(serve(Streaming(self.handler), workers=1, **limits))
        self.client.send(head(1_000_000))
        self.sent = 0

    def _clock(self) -> float:
        self._asked += 1
        return time.monotonic() + self._ahead

    def send(self, count: int) -> None:
        """Let a period pass, in which the client sends so many bytes, one at least."""
        poll(lambda: self._asked % 2)  # before a wait, and not yet behind it
        self._ahead += 50
        self.client.send(b"x" * count)
        self.sent += count
        poll(lambda: self.handler.read == self.sent or not self.handler.failures.empty())


def test_a_dribbled_body_is_too_slow(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(serve, monkeypatch, rate=100)
    slow.send(4999)
    assert slow.client.response().status == 408
    assert isinstance(slow.handler.failure(), TimeoutError)


def test_a_body_may_take_as_long_as_it_keeps_the_rate(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(serve, monkeypatch, rate=100)
    for _ in range(20):  # many times the longest pause
        slow.send(5000)
    slow.client.send(b"x" * (1_000_000 - slow.sent))
    assert slow.client.response().status == 200


def test_a_fast_beginning_makes_up_for_one_pause(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(serve, monkeypatch, rate=100)
    slow.send(30_000)  # in one piece, which is looked at once
    for _ in range(3):
        slow.send(1)
    assert slow.handler.failures.empty()
    slow.send(1)
    assert slow.client.response().status == 408


def test_without_a_rate_a_bit_now_and_then_is_enough(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(serve, monkeypatch, rate=None)
    for _ in range(20):
        slow.send(1)
    slow.client.send(b"x" * (1_000_000 - slow.sent))
    assert slow.client.response().status == 200


def test_the_time_that_the_handler_takes_is_its_own(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, events: Callable[[], threading.Event]
) -> None:
    ahead = 0.0
    goes_on = events()

    def handle(context: HttpRequestContext) -> None:
        nonlocal ahead
        data = context.request.stream.read(2)
        ahead += 1e6
        goes_on.set()
        context.response.data = data + context.request.stream.read()

    monkeypatch.setattr("handy_ws.http.body_stream.monotonic", lambda: time.monotonic() + ahead)
    client = serve.client(serve(Streaming(handle)))
    client.send(head(4) + b"bo")
    wait(goes_on)
    client.send(b"dy")
    assert client.response().body == b"body"


def test_a_client_that_leaves_in_its_body(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    handler = Failing()
    server = serve(Streaming(handler), workers=1)
    client = serve.client(server)
    client.send(head(10) + b"x")
    poll(lambda: handler.read)
    client.sock.close()
    assert isinstance(handler.failure(), ConnectionError)
    # One that only stops sending may learn why it gets nothing.
    client = serve.client(server)
    client.send(head(10) + b"x")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.response().status == 400
    assert client.is_closed()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_a_handler_may_make_the_best_of_a_body_that_breaks_off(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        try:
            context.request.stream.read()
        except HTTPException as error:
            return HttpResponse(f"mine: {error.code}", 418)
        return HttpResponse()

    client = serve.client(serve(Streaming(handle)))
    client.send(head(10) + b"x")
    client.sock.shutdown(socket.SHUT_WR)
    response = client.response()
    assert (response.status, response.body) == (418, b"mine: 400")
    assert client.is_closed()


class Chatty(Holding):
    """Has something to say in the middle of a body, as a TLS session may have."""

    received = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self.received += 1
        if self.received == 1:
            self.send(GREETING)
        return data


def test_what_a_stream_has_to_say_goes_out_while_a_body_is_awaited(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PlainStream", Chatty)
    client = serve.client(serve(Streaming(echo)), receive_buffer=4096)
    client.send(head(10, "Expect: 100-continue"))
    assert client.response().status == 100
    client.send(b"some ")
    assert client.until(b">") == GREETING
    client.send(b"more ")
    assert client.response().body == b"/some more "


# Workers


def test_slow_bodies_leave_the_workers_to_others(serve: Serve) -> None:
    handler = Failing()
    paths = PathHandler().add("/stream", Streaming(handler)).add("/", lambda _: None)
    server = serve(paths, workers=2, spare_workers=3)
    slow = [serve.client(server) for _ in range(5)]
    for client in slow[:3]:
        client.send(head(10, target="/stream") + b"x")
    assert serve.client(server).get().status == 200
    # Beyond the spare ones they hold the others.
    for client in slow[3:]:
        client.send(head(10, target="/stream") + b"x")
    poll(lambda: handler.read == len(slow))
    waiting = serve.client(server)
    waiting.send(get())
    waiting.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1)
    waiting.sock.settimeout(DEADLINE)
    slow[0].send(b"x" * 9)
    assert slow[0].response().status == 200
    assert waiting.response().status == 200
    for client in slow[1:]:
        client.send(b"x" * 9)
        assert client.response().status == 200


# Stopping


def test_stop_does_not_wait_for_a_body_longer_than_it_may(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Failing()
    server = HttpServer(Streaming(handler), ServerConfig(port=0, workers=2))
    threads = server_threads()
    with server, RawClient(server.address) as client:
        client.send(head(10) + b"x")
        poll(lambda: handler.read)
        stopper = threading.Thread(target=server.stop, args=(1000,))
        stopper.start()
        poll(lambda: refuses(server.address))
        assert handler.failures.empty()
        clock.advance(900, server)
        assert handler.failure().code == 503
        assert client.response().status == 503
        assert client.is_closed()
        stopper.join(DEADLINE)
        assert not stopper.is_alive()
    assert server_threads() == threads
    assert "without waiting" not in caplog.text


@pytest.mark.parametrize("timeout", [0, 0.3])
def test_stop_is_bounded_while_a_handler_waits_for_a_body(timeout: float) -> None:
    handler = Failing()
    server = HttpServer(Streaming(handler), ServerConfig(port=0, workers=2))
    with server, RawClient(server.address) as client:
        client.send(head(10) + b"x")
        poll(lambda: handler.read)
        begun = time.monotonic()
        server.stop(timeout)
        assert time.monotonic() - begun < 5
        assert handler.failure().code == 503


def test_stop_is_bounded_while_a_body_comes_and_comes() -> None:
    handler = Failing()
    server = HttpServer(Streaming(handler), ServerConfig(port=0, workers=2, max_body_size=2**60))
    with server, RawClient(server.address) as client:
        client.send(head(2**59))

        def send() -> None:
            with suppress(OSError):
                while True:
                    client.send(b"x" * 100_000)

        sender = threading.Thread(target=send)
        sender.start()
        poll(lambda: handler.read)
        server.stop(0.3)
        assert handler.failure().code == 503
        sender.join(DEADLINE)
        assert not sender.is_alive()


def test_a_body_that_is_being_read_may_come_to_its_end(serve: Serve) -> None:
    handler = Failing()
    server = serve(Streaming(handler), workers=1)
    address = server.address
    client = serve.client(server)
    client.send(head(10) + b"x")
    poll(lambda: handler.read)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    poll(lambda: refuses(address))
    client.send(b"x" * 9)
    response = client.response()
    assert (response.status, response.get("Connection")) == (200, "close")
    stopper.join(DEADLINE)
    assert not stopper.is_alive()
    assert handler.read == 10


def refuses(address: tuple[str, int]) -> bool:
    try:
        RawClient(address).sock.close()
    except ConnectionError:
        return True
    return False


def test_the_same_server_streams_again_after_a_stop() -> None:
    server = HttpServer(Streaming(echo), ServerConfig(port=0, workers=1))
    for _ in range(3):
        with server, RawClient(server.address) as client:
            client.send(head(4))
            assert client.request(b"body").body == b"/body"


# Which handler


def whole(context: HttpRequestContext) -> None:
    context.response.data = b"whole " + context.request.get_data()


def test_a_path_handler_asks_the_handler_that_it_will_be(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        return HttpResponse(f"stream {context.request.path_params}")

    inner = PathHandler().add("/deep/<int:id>", Streaming(handle))
    paths = PathHandler(fallback=inner).add("/whole", whole).add("/stream", Streaming(handle))
    paths.add("/posted", Streaming(handle), methods=["POST"]).add("/user/<name>", whole)
    server = serve(paths)
    # Those that stream answer before the body comes.
    for target in ("/stream", "/posted", "/deep/7"):
        client = serve.client(server)
        response = client.request(head(4, target=target))
        assert response.body.startswith(b"stream")
        assert client.is_closed()
    for target in ("/whole", "/user/a"):
        client = serve.client(server)
        client.send(head(4, target=target))
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(DEADLINE)
        assert client.request(b"body").body == b"whole body"
    client = serve.client(server)
    for target, status in (("/none", 404), ("/deep/x", 404)):
        assert client.request(post(target, b"body")).status == status
    put = post("/posted", b"body").replace(b"POST", b"PUT", 1)
    assert client.request(put).status == 405


def test_a_handler_may_decide_by_the_head(serve: Serve) -> None:
    class Choosy(HttpRequestHandler):
        def streams_body(self, head: Any) -> bool:
            return bool(head.get("x-stream"))

        def handle(self, context: HttpRequestContext) -> None:
            echo(context)

    client = serve.client(serve(Choosy()))
    client.send(head(4, "X-Stream: 1", "Expect: 100-continue"))
    assert client.response().status == 100
    assert client.request(b"body").body == b"/body"
    assert client.request(post("/", b"body")).body == b"/body"


# WSGI


def test_a_wsgi_application_can_have_the_stream(serve: Serve) -> None:
    parts: SimpleQueue[bytes] = SimpleQueue()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        while part := environ["wsgi.input"].read(4):
            parts.put(part)
            yield part

    client = serve.client(serve(WsgiHandler(app, stream_body=True)))
    client.send(head(8, "Expect: 100-continue"))
    assert client.response().status == 100
    client.send(b"some")
    assert parts.get(timeout=DEADLINE) == b"some"
    client.send(b"more")
    assert client.response().body == b"somemore"
    assert client.is_closed()


@pytest.mark.filterwarnings("error")
def test_the_validator_has_nothing_to_say_about_the_stream(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        stream = environ["wsgi.input"]
        data = stream.readline() + stream.read(10) + b"".join(stream.readlines(5))
        data += b"".join(stream) + stream.read(1)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [data]

    client = serve.client(serve(WsgiHandler(validator(app), stream_body=True)))
    body = b"a line\n" * 3000
    client.send(head(len(body)))
    assert client.request(body).body == body


def test_views_of_flask_can_have_the_stream(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("test")

    @app.post("/upload")
    def upload() -> str:
        if "Authorization" not in request.headers:
            abort(401)
        size = 0
        while part := request.stream.read(65536):
            size += len(part)
        return str(size)

    handler = WsgiHandler(app, stream_body=True)
    client = serve.client(serve(handler))
    fields = "Authorization: x", "Expect: 100-continue"
    client.send(head(300_000, *fields, target="/upload"))
    assert client.response().status == 100
    client.send(b"x" * 299_999)
    assert client.request(b"x").body == b"300000"
    client.send(CHUNKED.replace(b"POST /", b"POST /upload", 1)[:-2] + b"Authorization: x\r\n\r\n")
    assert client.request(b"4\r\nbody\r\n0\r\n\r\n").body == b"4"
    assert client.request(head(300_000, target="/upload")).status == 401
    assert client.is_closed()
    client = serve.client(serve(handler, rate_grace=0.1))
    assert client.request(head(4, "Authorization: x", target="/upload") + b"x").status == 408
    assert client.is_closed()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
