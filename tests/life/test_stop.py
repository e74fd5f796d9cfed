"""Stopping a server that is busy, from everywhere, and starting it again."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest
from handy_ws import (
    CloseCause,
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.life.program import outcome, start
from tests.signals import wait_until_caught
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import HttpRequestContext

#: What a stop may take beyond its timeout on a machine that stands still now and then, in seconds.
SLACK = 5.0


class Load:
    """Clients that flood a server until it goes, and threads that broadcast to all of them."""

    def __init__(self, server: HttpServer, *, answers: bool = True) -> None:
        self.answers = answers
        self.manager = server.websocket_manager
        self.done = threading.Event()
        self.count = 0
        clients = [RawWebSocket.open(server.address) for _ in range(6)]
        tasks = [(self._flood, client) for client in clients]
        tasks += [(self._read, client) for client in clients]
        self.threads = [threading.Thread(target=task, args=(client,)) for task, client in tasks]
        self.threads.append(threading.Thread(target=self._broadcast))

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def wait_for_more(self) -> None:
        """Wait until some more has come back."""
        enough = self.count + 200
        deadline = time.monotonic() + PATIENCE
        while self.count < enough:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def _flood(self, client: RawWebSocket) -> None:
        with contextlib.suppress(OSError):
            while not self.done.is_set():
                client.send_text("x" * 100)

    def _read(self, client: RawWebSocket) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not self.done.is_set():
                if client.read_frame().opcode == 8 and self.answers:
                    client.send_close(1001)
                self.count += 1
        client.socket.close()

    def _broadcast(self) -> None:
        while not self.done.is_set():
            self.manager.broadcast("to all")
            for connection in self.manager.connections:
                with contextlib.suppress(ConnectionClosed):
                    connection.send_text("to one")
            self.done.wait(0.001)


def server_of(handler: WebSocketMessageHandler) -> HttpServer:
    return HttpServer(WebSocketHandler(handler), ServerConfig(port=0, workers=2))


def threads_end() -> bool:
    """Wait until no thread of a server is left: a stop with little time does not wait for them."""
    deadline = time.monotonic() + PATIENCE
    while any("handy-ws" in thread.name for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def stop_by_thread(server: HttpServer, timeout: float) -> None:
    server.stop(timeout)


def stop_by_threads(server: HttpServer, timeout: float) -> None:
    stoppers = [threading.Thread(target=server.stop, args=(timeout,)) for _ in range(8)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join()


@pytest.mark.parametrize("stop", [stop_by_thread, stop_by_threads])
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("timeout", [0.0, 0.5])
def test_stop_under_load(
    stop: Callable[[HttpServer, float], None], timeout: float, *, answers: bool
) -> None:
    server = server_of(Echo())
    for _ in range(2):
        with server, Load(server, answers=answers) as load:
            begun = time.monotonic()
            stop(server, timeout)
            assert time.monotonic() - begun < timeout + SLACK
            load.done.set()
        server.wait()
        assert threads_end()


def test_stop_by_callbacks_under_load() -> None:
    class Stopping(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            with contextlib.suppress(ConnectionClosed):
                super().on_text_message(message)
            if time.monotonic() > stop_at:
                server.stop(0.5)

    server = server_of(Stopping())
    stop_at = time.monotonic() + 1e6
    with server, Load(server):
        stop_at = 0.0
        server.wait()
    assert threads_end()


def test_stop_by_handlers_under_load() -> None:
    websockets = WebSocketHandler(Echo())

    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/stop":
            context.server.stop(0.5)
        else:
            websockets.handle(context)

    server = HttpServer(handle, ServerConfig(port=0, workers=4))
    with server, Load(server):
        clients = [RawWebSocket(server.address) for _ in range(3)]
        for client in clients:
            client.send(b"GET /stop HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait()
        for client in clients:
            client.socket.close()
    assert threads_end()


class Blocking(Recorder):
    """Has a callback that returns when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.release = threading.Event(), threading.Event()
        self.closed: list[WebSocketConnection] = []

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        if message.payload == "block":
            self.entered.set()
            assert self.release.wait(PATIENCE * 2)
        super().on_text_message(message)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self.closed.append(connection)


def test_a_server_starts_again_while_a_callback_of_its_last_run_blocks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Blocking()
    server = server_of(handler)
    manager = server.websocket_manager
    old = []
    try:
        server.start_in_thread()
        with RawWebSocket.open(server.address) as blocked, RawWebSocket.open(server.address):
            first = {handler.next("established"), handler.next("established")}
            blocked.send_text("block")
            assert handler.entered.wait(PATIENCE)
            begun = time.monotonic()
            server.stop(0.2)
            assert time.monotonic() - begun < 0.2 + SLACK
            assert "without waiting for: handy-ws-manager" in caplog.text
            assert len(manager) == 2  # whose last callback is still to come
            old = [t for t in threading.enumerate() if t.name == "handy-ws-manager"]
            assert len(blocked.read_end()) > 0  # a CLOSE, and then the end
        for run in range(3):
            with server, RawWebSocket.open(server.address) as client:
                connection = handler.wait_for("established")
                assert manager.connections == [connection]
                client.send_text(f"run {run}")
                assert handler.next("text") == f"run {run}"
                assert manager.stats().connections == 1
                client.send_close()
                client.read_until_close()
                client.read_end()
        assert len(handler.closed) == 3
        assert not first & set(handler.closed)
    finally:
        handler.release.set()
    for thread in old:
        thread.join(PATIENCE)
    assert handler.wait_for("text") == "block"
    assert len(handler.closed) == len(set(handler.closed)) == 5
    assert {connection.close_cause for connection in first} == {CloseCause.SERVER_STOP}
    assert manager.stats().connections == 0
    assert threads_end()


def test_one_of_two_servers_with_the_same_handler_stops_while_both_are_busy() -> None:
    handler = Echo()
    one, other = server_of(handler), server_of(handler)
    with other, Load(other) as load:
        for _ in range(3):
            with one, Load(one):
                one.stop(0.5)
            load.wait_for_more()
            assert len(other.websocket_manager) == 6
        load.done.set()
        other.stop(0.5)
    assert threads_end()


# Signals in the body of `with`

BODY = """
clients = []

def answer(client):
    client.read_until_close()
    client.send_close(1001)
    client.read_end()

with server:
    for _ in range(5):
        client = RawWebSocket.open(server.address)
        if {answers}:
            threading.Thread(target=answer, args=[client]).start()
        clients.append(client)
    print(server.address[1], flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # says that it is ready
    while True:
        time.sleep(100)
"""


def test_ctrl_c_in_the_body_of_with_stops_the_server() -> None:
    with start(BODY.format(answers=True)) as process:
        wait_until_caught(process, signal.SIGTERM)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        status, out, err = outcome(process)
    assert time.monotonic() - begun < SLACK
    assert (status, len(out.split())) == (-signal.SIGINT, 1)
    assert err.count("Traceback") == 1
    assert err.endswith("KeyboardInterrupt\n")


def test_a_second_ctrl_c_does_not_wait_for_clients_that_do_not_answer() -> None:
    with start(BODY.format(answers=False)) as process:
        wait_until_caught(process, signal.SIGTERM)
        assert process.stdout is not None
        address = "127.0.0.1", int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(ConnectionError):
            while True:
                RawWebSocket(address).socket.close()  # the server is not yet stopping
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        status, out, err = outcome(process)
    assert time.monotonic() - begun < SLACK
    assert (status, out) == (-signal.SIGINT, "")
    assert err.endswith("KeyboardInterrupt\n")
