"""Clients that wait, dribble or do not read cost nobody a thread, and run out of time."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpResponse

from tests.http.conftest import poll, wait
from tests.http.raw_http import DEADLINE, RawClient, get, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

BIG = b"0123456789abcdef" * 65536  # 1 MiB, many times what a socket holds
TIMES = 16


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.request.get_data() or b"ok"


def big_parts() -> Iterator[bytes]:
    for _ in range(TIMES):
        yield BIG


# Deadlines


def test_a_head_that_takes_too_long_gets_408(serve: Serve) -> None:
    client = serve.client(serve(echo, head_timeout=0.1))
    client.send(get()[:-2])
    response = client.response()
    assert (response.status, response.get("Connection")) == (408, "close")
    assert client.is_closed()


def test_a_dribbled_head_has_one_deadline_for_the_whole(serve: Serve) -> None:
    client = serve.client(serve(echo, head_timeout=0.2))
    begun = time.monotonic()
    stop = threading.Event()

    def dribble() -> None:
        try:
            while not stop.wait(0.02):
                client.send(b"x")
        except OSError:
            pass

    client.send(b"GET /")
    dribbler = threading.Thread(target=dribble)
    dribbler.start()
    try:
        assert client.response().status == 408
    finally:
        stop.set()
        dribbler.join()
    assert time.monotonic() - begun < 5


def test_a_connection_without_a_byte_is_closed_without_a_word(serve: Serve) -> None:
    client = serve.client(serve(echo, head_timeout=0.1))
    assert client.is_closed()


def test_the_deadline_of_a_later_head_runs_from_its_first_byte(serve: Serve) -> None:
    client = serve.client(serve(echo, head_timeout=0.1, keep_alive_timeout=30))
    assert client.get().status == 200
    client.send(b"GET")
    assert client.response().status == 408


def test_a_body_that_takes_too_long_gets_408(serve: Serve) -> None:
    client = serve.client(serve(echo, body_timeout=0.1))
    client.send(post("/", b"hello")[:-1])
    assert client.response().status == 408
    assert client.is_closed()


@pytest.mark.parametrize("streamed", [False, True], ids=["bytes", "iterator"])
def test_a_client_that_stops_reading_is_closed_and_the_response_with_it(
    serve: Serve, *, streamed: bool
) -> None:
    closed = threading.Event()

    def handle(context: HttpRequestContext) -> HttpResponse | None:
        if context.head.path == "/":
            return None
        response = HttpResponse(big_parts() if streamed else BIG * TIMES)
        response.call_on_close(closed.set)
        return response

    server = serve(handle, workers=1, body_timeout=0.1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get("/big"))
    wait(closed)
    assert serve.client(server).get("/").status == 200


# No worker is held


def test_waiting_clients_do_not_delay_the_next_request(serve: Serve) -> None:
    server = serve(echo, workers=1)
    begun_heads = [serve.client(server) for _ in range(50)]
    begun_bodies = [serve.client(server) for _ in range(50)]
    idle = [serve.client(server) for _ in range(50)]
    for client in begun_heads:
        client.send(get()[:-3])
    for client in begun_bodies:
        client.send(post("/", b"hello")[:-1])
    for client in idle:
        assert client.get().status == 200
    assert serve.client(server).get().body == b"ok"
    # And they have all been waited for.
    for client in begun_heads:
        assert client.request(get()[-3:]).body == b"ok"
    for client in begun_bodies:
        assert client.request(b"o").body == b"hello"


@pytest.mark.parametrize("streamed", [False, True], ids=["bytes", "iterator"])
def test_slow_readers_do_not_delay_the_next_request(serve: Serve, *, streamed: bool) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse | None:
        if context.head.path == "/":
            return None
        return HttpResponse(big_parts() if streamed else BIG * TIMES)

    server = serve(handle, workers=1)
    slow = [serve.client(server, receive_buffer=4096) for _ in range(5)]
    for client in slow:
        client.send(get("/big"))
    other = serve.client(server)
    for _ in range(20):
        assert other.get("/").status == 200
    # Whoever reads after all gets every byte, and the connection goes on.
    for client in slow:
        assert client.response().body == BIG * TIMES
        assert client.get("/").status == 200


def test_a_pipelining_slow_reader_gets_every_response(serve: Serve) -> None:
    server = serve(lambda _: HttpResponse(BIG), workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get() * 8)
    for _ in range(8):
        assert client.response().body == BIG


def test_the_iterator_is_closed_when_the_client_leaves(serve: Serve) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield BIG
        finally:
            closed.set()

    def handle(context: HttpRequestContext) -> HttpResponse | None:
        return HttpResponse(endless()) if context.head.path == "/endless" else None

    server = serve(handle, workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get("/endless"))
    assert client.exactly(1000)
    client.sock.close()
    wait(closed)
    assert serve.client(server).get().status == 200


def test_a_slow_iterator_sends_its_head_and_each_part_at_once(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    first, second = events(), events()

    def parts() -> Iterator[bytes]:
        wait(first)
        yield b"one"
        wait(second)
        yield b"two"

    client = serve.client(serve(lambda _: HttpResponse(parts())))
    client.send(get())
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    first.set()
    assert client.until(b"one\r\n") == b"3\r\none\r\n"
    second.set()
    assert client.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.alone
def test_thousands_of_waiting_connections_do_not_delay_the_next_request(serve: Serve) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 4000
    if hard != resource.RLIM_INFINITY:
        count = min(count, (hard - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count * 2 + 200), hard))
    try:
        server = serve(echo, workers=1, head_timeout=60)
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(server.address)) for _ in range(count)]
            for client in clients:
                client.send(b"GET / HT")
            other = serve.client(server)
            times = []
            for _ in range(50):
                for client in clients[:100]:
                    client.send(b"x")
                begun = time.monotonic()
                assert other.get().body == b"ok"
                times.append(time.monotonic() - begun)
            # The median, since a busy machine may take a while over any one of them.
            assert sorted(times)[25] < 0.05
            server.stop(5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Out of descriptors


def test_a_server_without_descriptors_lives_on_and_recovers(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(echo, workers=1)
    client = serve.client(server)
    assert client.get().status == 200
    late = socket.socket()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler: list[int] = []
    try:
        # Take all descriptors below a new, low limit; those that are open stay open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 20, hard))
        with suppress(OSError):
            while True:
                filler.append(os.dup(late.fileno()))
        late.settimeout(DEADLINE)
        late.connect(server.address)
        poll(lambda: "cannot accept" in caplog.text)
        assert client.get().status == 200
    finally:
        for descriptor in filler:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with late:
        late.sendall(get())
        assert late.recv(1000).startswith(b"HTTP/1.1 200")
