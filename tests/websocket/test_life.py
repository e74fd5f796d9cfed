"""Life and death: stopping from callbacks, restarting, and interpreters that end meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCause,
    HttpServer,
    ServerConfig,
    WebSocketHandler,
    WebSocketTextMessage,
)

from tests.slowness import without_slow_callbacks
from tests.websocket.raw_websocket import RawWebSocket, frame
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

TEXT = 1


def test_stop_in_a_callback_returns_at_once_and_stops(serve: Serve) -> None:
    class Stopping(Recorder):
        server: HttpServer

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            message.connection.send_text("last words")
            self.server.stop()
            super().on_text_message(message)

    handler = Stopping()
    handler.server = serve(handler)
    with RawWebSocket.open(handler.server.address) as client:
        client.send(frame(TEXT, b"stop"))
        assert client.read_text() == "last words"
        assert client.read_close()[0] == 1001
        client.send_close(1001)
        client.read_end()
        assert handler.wait_for("closed").close_cause is CloseCause.SERVER_STOP
    handler.server.stop()
    assert [thread.name for thread in threading.enumerate() if "handy" in thread.name] == []


def test_a_server_serves_again_after_a_stop(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    ids = []
    for _ in range(5):
        with RawWebSocket.open(server.address) as client:
            client.send_text("hello")
            ids.append(recorder.next("established").id)
            assert recorder.next("text") == "hello"
            client.send_close()
            client.read_close()
        recorder.wait_for("closed")
        server.stop()
        server.start_in_thread()
    assert len(set(ids)) == len(ids)
    assert server.websocket_manager.stats().connections_total == len(ids)


def test_two_servers_in_one_process_do_not_know_of_each_other(serve: Serve) -> None:
    first, second = serve(Echo()), serve(Echo())
    with RawWebSocket.open(first.address) as one, RawWebSocket.open(second.address) as two:
        first.websocket_manager.broadcast("first")
        second.websocket_manager.broadcast("second")
        assert one.read_text() == "first"
        assert two.read_text() == "second"
        threading.Thread(target=first.stop).start()
        one.read_close()
        one.send_close(1001)
        two.send_text("still here")
        assert two.read_text() == "still here"


def test_a_handler_may_serve_several_servers(serve: Serve) -> None:
    handler = Echo()
    servers = [serve(handler), serve(handler)]
    for server in servers:
        with RawWebSocket.open(server.address) as client:
            client.send_text("hello")
            assert client.read_text() == "hello"


@pytest.mark.parametrize("order", ["server first", "handler first", "connection first"])
def test_objects_can_be_dropped_in_any_order(order: str) -> None:
    handler = Recorder()
    server = HttpServer(WebSocketHandler(handler), ServerConfig(port=0))
    server.start_in_thread()
    with RawWebSocket.open(server.address) as client:
        connection = handler.next("established")
        client.send_close()
        client.read_close()
    server.stop()
    objects = {"server": server, "handler": handler, "connection": connection}
    references = [weakref.ref(thing) for thing in objects.values()]
    while not handler.events.empty():
        handler.events.get()
    del server, handler, connection
    del objects[order.split(" ", maxsplit=1)[0]]
    gc.collect()
    objects.clear()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


PROGRAM = """
import sys, threading
from handy_ws import *
from tests.websocket.raw_websocket import RawWebSocket

class Handler(WebSocketMessageHandler):
    def on_text_message(self, message):
        kept.append(message)
        came.set()

    def on_connection_closed(self, connection):
        print("closed", connection.close_cause.name, flush=True)

kept, came = [], threading.Event()
server = HttpServer(WebSocketHandler(Handler()), ServerConfig(port=0))
server.start_in_thread()
client = RawWebSocket.open(server.address)
client.send_text("hello")
came.wait(20)

def answer():
    try:
        client.read_until_close()
        client.send_close(1001)
        client.read_end()
    except OSError:
        pass

def send_on():
    try:
        while True:
            kept[0].connection.send_text("x")
    except ConnectionClosed:
        pass

threading.Thread(target=answer, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("del server", 0),
        ("server.websocket_manager.broadcast('x' * 100_000)", 0),
        ("threading.Thread(target=send_on, daemon=True).start()", 0),
    ],
)
def test_the_interpreter_ends_while_the_server_runs(ending: str, status: int) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM + ending],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=".",
    )
    errors = without_slow_callbacks(program.stderr)
    assert (program.returncode, errors) == (status, "")
    assert program.stdout == "closed SERVER_STOP\n"


def test_an_exception_in_the_main_thread_is_all_that_is_seen() -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM + "raise LookupError('deliberate')"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert program.returncode == 1
    errors = without_slow_callbacks(program.stderr)
    assert errors.startswith("Traceback")
    assert errors.endswith("LookupError: deliberate\n")
    assert errors.count("Traceback") == 1
    assert program.stdout == "closed SERVER_STOP\n"
