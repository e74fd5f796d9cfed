"""One call of a WSGI application happens on one thread, and slow clients are in nobody's way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    HttpServer,
    PathHandler,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
    WsgiHandler,
)
from websockets.sync.client import connect

from tests.http.conftest import poll, server_threads, wait
from tests.http.raw_http import get
from tests.http.wsgi_apps import BIG, PLAIN, TIMES, Closing, answering, read, start_slowly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.certificates import Authority
    from tests.http.conftest import Serve


class Streams:
    """An application that answers ``/`` at once, and anything else with a large stream."""

    def __init__(self) -> None:
        self.bodies: list[Closing] = []
        self.busy: set[int] = set()  # threads whose stream is not over
        self.intruded = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.intruded |= threading.get_ident() in self.busy
        start_response("200 OK", PLAIN)
        if environ["PATH_INFO"] == "/":
            return [b"at once"]
        body = Closing()
        body.parts = self._parts()
        self.bodies.append(body)
        return body

    def _parts(self) -> Iterator[bytes]:
        thread = threading.get_ident()
        self.busy.add(thread)
        try:
            for _ in range(TIMES):
                yield BIG
        finally:
            self.busy.discard(thread)


def test_slow_clients_of_streams_do_not_delay_the_next_request(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1, spare_workers=4)
    slow = start_slowly(serve, server, 4)
    other = serve.client(server)
    for _ in range(20):
        assert other.get("/").body == b"at once"
    # Whoever reads after all gets every byte, and the connection goes on.
    for client in slow:
        assert read(client) == BIG * TIMES
        assert client.get("/").body == b"at once"
    assert [body.closed for body in app.bodies] == [1] * 4


def test_slow_clients_that_speak_tls_do_not_delay_the_next_request_either(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    app, context = Streams(), authority.client(tls_version)
    server = serve(WsgiHandler(app), workers=1, spare_workers=2, tls=authority.server.config())
    slow = start_slowly(serve, server, 2, context)
    assert serve.client(server, context=context).get("/").body == b"at once"
    for client in slow:
        assert read(client) == BIG * TIMES
        assert client.get("/").body == b"at once"
    (left,) = start_slowly(serve, server, 1, context)
    server.stop(0.2)
    assert [(body.closed, len(body.threads)) for body in app.bodies] == [(1, 1)] * 3
    assert not app.intruded
    left.sock.close()


def test_a_stream_has_its_thread_for_itself_until_it_is_closed(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=2)
    slow = start_slowly(serve, server, 3)
    other = serve.client(server)
    for client in slow:
        for _ in range(5):
            assert other.get("/").body == b"at once"
        assert read(client) == BIG * TIMES
    assert not app.intruded
    assert [len(body.threads) for body in app.bodies] == [1] * 3
    assert len(set.union(*(body.threads for body in app.bodies))) == 3


def test_without_spare_workers_a_slow_client_keeps_one_waiting(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1, spare_workers=0)
    (slow,) = start_slowly(serve, server, 1)
    other = serve.client(server)
    other.send(get("/"))
    assert read(slow) == BIG * TIMES
    assert other.response().body == b"at once"
    assert not app.intruded


def test_who_stood_in_goes_when_the_stream_is_over(serve: Serve) -> None:
    server = serve(WsgiHandler(Streams()), workers=2)
    usual = len(server_threads())
    slow = start_slowly(serve, server, 5)
    poll(lambda: len(server_threads()) == usual + 5)
    for client in slow:
        assert read(client) == BIG * TIMES
    poll(lambda: len(server_threads()) == usual)


def test_a_client_that_takes_nothing_is_let_go(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1, spare_workers=1, body_timeout=0.3)
    start_slowly(serve, server, 1)
    poll(lambda: app.bodies[0].closed == 1)
    assert len(app.bodies[0].threads) == 1
    assert serve.client(server).get("/").body == b"at once"


def test_a_client_that_leaves_ends_the_wait(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1)
    (slow,) = start_slowly(serve, server, 1)
    slow.sock.close()
    poll(lambda: app.bodies[0].closed == 1)
    assert len(app.bodies[0].threads) == 1


def test_stopping_cuts_off_who_takes_nothing(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1, spare_workers=1)
    start_slowly(serve, server, 2)
    begun = time.monotonic()
    server.stop(0.5)
    assert time.monotonic() - begun < 5
    assert all(body.closed == 1 and len(body.threads) == 1 for body in app.bodies)


def test_stopping_lets_a_stream_come_to_its_end(serve: Serve) -> None:
    app = Streams()
    server = serve(WsgiHandler(app), workers=1)
    (slow,) = start_slowly(serve, server, 1)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    try:
        assert read(slow) == BIG * TIMES
    finally:
        stopping.join()
    assert app.bodies[0].closed == 1


@pytest.mark.parametrize("kind", ["list", "file"])
def test_what_needs_no_application_any_more_holds_no_thread(
    serve: Serve, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG * TIMES)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        if environ["PATH_INFO"] == "/":
            return [b"at once"]
        if kind == "list":
            return [BIG] * TIMES
        return environ["wsgi.file_wrapper"](path.open("rb"))  # type: ignore[no-any-return]

    server = serve(WsgiHandler(app), workers=1, spare_workers=0)
    slow = start_slowly(serve, server, 3)
    assert serve.client(server).get("/").body == b"at once"
    for client in slow:
        client.read_fast()
        body = read(client) if kind == "file" else client.exactly(len(BIG) * TIMES)
        assert body == BIG * TIMES


# ---- beside WebSockets


class Echo(WebSocketMessageHandler):
    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)


def test_views_that_sleep_leave_the_sockets_alone(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    wake, busy = events(), threading.Barrier(4)

    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        busy.wait(10)
        wait(wake)
        start_response("200 OK", PLAIN)
        return [b"slept"]

    paths = PathHandler(fallback=WsgiHandler(app)).add("/ws", WebSocketHandler(Echo()))
    server = serve(paths, workers=3)
    host, port = server.address
    with connect(f"ws://{host}:{port}/ws") as socket:
        sleepers = [serve.client(server) for _ in range(3)]
        for client in sleepers:
            client.send(get("/"))
        busy.wait(10)  # all workers are in the view
        for number in range(100):
            socket.send(str(number))
            assert socket.recv(timeout=10) == str(number)
        server.websocket_manager.broadcast("to all")
        assert socket.recv(timeout=10) == "to all"
        wake.set()
        assert [client.response().body for client in sleepers] == [b"slept"] * 3


def test_all_views_broadcast_at_once(serve: Serve) -> None:
    workers, times = 25, 40
    together = threading.Barrier(workers)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        together.wait(10)
        manager = environ["handy_ws.server"].websocket_manager
        for number in range(times):
            manager.broadcast(f"{environ['PATH_INFO']} {number}")
        start_response("200 OK", PLAIN)
        return [b"sent"]

    paths = PathHandler(fallback=WsgiHandler(app)).add("/ws", WebSocketHandler(Echo()))
    server = serve(paths, workers=workers)
    host, port = server.address
    with connect(f"ws://{host}:{port}/ws") as one, connect(f"ws://{host}:{port}/ws") as other:
        for socket in (one, other):
            socket.send("here")
            assert socket.recv(timeout=10) == "here"
        clients = [serve.client(server) for _ in range(workers)]
        for view, client in enumerate(clients):
            client.send(get(f"/{view}"))
        assert [client.response().body for client in clients] == [b"sent"] * workers
        for socket in (one, other):
            heard = [str(socket.recv(timeout=10)).split() for _ in range(workers * times)]
            for view in range(workers):
                order = [int(number) for path, number in heard if path == f"/{view}"]
                assert order == list(range(times))


def test_the_application_finds_the_server_it_runs_in(serve: Serve) -> None:
    servers: list[HttpServer] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        servers.append(environ["handy_ws.server"])
        return answering([b"x"])(environ, start_response)  # type: ignore[no-any-return]

    handler = WsgiHandler(app)  # one application, two servers
    running = [serve(handler), serve(handler)]
    for server in running:
        # Nobody can forge it: header fields become keys in capitals that begin with HTTP_.
        serve.client(server).get("/", "handy_ws.server: mine", "handy-ws.server: mine")
    assert servers == running
