"""Executors that end early, and servers that stop meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCause,
    HttpServer,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.slowness import without_slow_callbacks
from tests.websocket.raw_websocket import TEXT, RawWebSocket, frame, request_head
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.websocket.conftest import Serve


class Blocking(Recorder):
    """Blocks on the message "block", and notes which thread called it last of all."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked, self.go_on = threading.Event(), threading.Event()
        self.last_thread = ""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        super().on_text_message(message)
        if message.payload == "block":
            self.blocked.set()
            assert self.go_on.wait(PATIENCE)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self.last_thread = threading.current_thread().name
        super().on_connection_closed(connection)


class Inline:
    """Calls at once, on the thread that submits."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, fn: Callable[[], None]) -> None:
        self.count += 1
        fn()


# Executors that end.


def test_an_executor_that_is_shut_down_ends_its_connections(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    pool = ThreadPoolExecutor(2)
    handler = Blocking()
    server = serve(WebSocketHandler(handler, executor=pool))
    clients = [RawWebSocket.open(server.address) for _ in range(3)]
    for _ in clients:
        handler.next("established")
    pool.shutdown()
    for client in clients:
        client.send_text("to nobody")
        assert client.read_close() == (1011, "handler error")
        client.send_close(1011)
        client.read_end()
        assert handler.wait_for("closed").close_cause is CloseCause.HANDLER_ERROR
    assert handler.last_thread == "handy-ws-manager"
    server.stop()
    assert handler.events.empty()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "executor" in record.getMessage()
    assert "after shutdown" in caplog.text


def test_callbacks_that_an_executor_drops_are_not_lost(serve: Serve) -> None:
    pool = ThreadPoolExecutor(1)
    handler = Blocking()
    server = serve(WebSocketHandler(handler, executor=pool))
    with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as two:
        first, second = handler.next("established"), handler.next("established")
        one.send_text("block")
        assert handler.blocked.wait(PATIENCE)
        two.send_text("waits")  # and so does its place in the pool
        while server.websocket_manager.stats().messages_received < 2:
            time.sleep(0.001)
        pool.shutdown(wait=False, cancel_futures=True)
        assert two.read_close()[0] == 1011
        two.send_close(1011)
        two.read_end()
        assert handler.next("text") == "block"
        assert handler.next("close")[0] == 1011
        assert handler.next("closed") in {first, second}
        assert handler.last_thread == "handy-ws-manager"
        handler.go_on.set()
        one.send_close()
        assert one.read_close()[0] == 1000
    assert handler.wait_for("closed").close_cause is CloseCause.PEER


def test_an_executor_that_never_worked_refuses_connections(serve: Serve) -> None:
    def fail() -> None:
        raise LookupError

    with ThreadPoolExecutor(1, initializer=fail) as pool:
        handler = Recorder()
        server = serve(WebSocketHandler(handler, executor=pool))
        for _ in range(3):
            with RawWebSocket(server.address) as client:
                client.send(request_head())
                assert client.read_response_head()[0] == 101
                assert client.read_close()[0] == 1011
            handler.next("established")
            assert handler.wait_for("closed").close_cause is CloseCause.HANDLER_ERROR


def test_an_executor_may_call_at_once(serve: Serve) -> None:
    class Slow(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            if message.payload == "slow":
                time.sleep(0.011)  # longer than one turn of the executor
            super().on_text_message(message)

    executor = Inline()
    server = serve(WebSocketHandler(Slow(), executor=executor))
    with RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"quick") * 2000 + frame(TEXT, b"slow") * 20)
        assert [client.read_text() for _ in range(2000)] == ["quick"] * 2000
        assert [client.read_text() for _ in range(20)] == ["slow"] * 20
        client.send_close()
        assert client.read_close()[0] == 1000
    assert executor.count > 0


def test_callbacks_that_are_not_overridden_do_not_trouble_the_executor(serve: Serve) -> None:
    class Nothing:
        def submit(self, fn: Callable[[], None]) -> None:
            raise NotImplementedError(fn)

    server = serve(WebSocketHandler(WebSocketMessageHandler(), executor=Nothing()))
    with RawWebSocket.open(server.address) as client:
        client.send_text("to nobody")
        client.send_close()
        assert client.read_close()[0] == 1000
        client.read_end()
    server.stop()
    assert len(server.websocket_manager) == 0


# Servers that stop.


def test_a_stop_waits_for_the_last_callback(serve: Serve) -> None:
    handler = Blocking()
    with ThreadPoolExecutor(1) as pool:
        server = serve(WebSocketHandler(handler, executor=pool))
        clients = [RawWebSocket.open(server.address) for _ in range(5)]
        for _ in clients:
            handler.next("established")
        clients[0].send_text("block")
        assert handler.blocked.wait(PATIENCE)
        stopper = threading.Thread(target=server.stop, args=(PATIENCE,))
        stopper.start()
        for client in clients:
            assert client.read_close() == (1001, "server stop")
            client.send_close(1001)
            client.read_end()
        stopper.join(0.1)
        assert stopper.is_alive(), "callbacks are missing"
        handler.go_on.set()
        stopper.join(PATIENCE)
        assert not stopper.is_alive()
        kinds = [handler.events.get_nowait()[0] for _ in range(11)]
        assert sorted(kinds) == ["close"] * 5 + ["closed"] * 5 + ["text"]
        assert handler.last_thread.startswith("ThreadPool")


def test_a_stop_does_not_wait_for_ever_and_callbacks_come_late(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Blocking()
    with ThreadPoolExecutor(1) as pool:
        server = serve(WebSocketHandler(handler, executor=pool))
        with RawWebSocket.open(server.address) as client:
            connection = handler.next("established")
            client.send_text("block")
            client.send_text("behind the stop")
            assert handler.blocked.wait(PATIENCE)
            begun = time.monotonic()
            server.stop(0.5)
            assert time.monotonic() - begun < PATIENCE / 2
            for thread in threading.enumerate():
                if thread.name == "handy-ws-manager":
                    thread.join(PATIENCE)  # on a busy machine it is late
            assert "without waiting for callbacks of 1 connections" in caplog.text
            assert len(server.websocket_manager) == 0
            assert connection.close_cause is CloseCause.SERVER_STOP
            server.start_in_thread()  # the manager does not mind what is left of last time
            handler.go_on.set()
            assert handler.next("text") == "block"
            assert handler.next("closed") is connection
        with RawWebSocket.open(server.address) as client:
            assert handler.next("established") is not connection
            client.send_text("hello")
            assert handler.next("text") == "hello"
            client.send_close()
            assert client.read_close()[0] == 1000
        server.stop()


def test_stop_in_a_callback_returns_at_once_and_stops(serve: Serve) -> None:
    class Stopping(Recorder):
        server: HttpServer

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            message.connection.send_text("last words")
            begun = time.monotonic()
            self.server.stop(PATIENCE)
            self.events.put(("stopped", time.monotonic() - begun))

    handler = Stopping()
    with ThreadPoolExecutor(2) as pool:
        handler.server = serve(WebSocketHandler(handler, executor=pool))
        with RawWebSocket.open(handler.server.address) as client:
            client.send_text("stop")
            assert client.read_text() == "last words"
            assert client.read_close()[0] == 1001
            client.send_close(1001)
            client.read_end()
            assert handler.wait_for("stopped") < PATIENCE / 2
            assert handler.wait_for("closed").close_cause is CloseCause.SERVER_STOP
        handler.server.stop()
        assert [thread.name for thread in threading.enumerate() if "handy" in thread.name] == []


PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from handy_ws import *
from tests.websocket.raw_websocket import RawWebSocket

class Handler(WebSocketMessageHandler):
    def on_text_message(self, message):
        message.connection.send_text("answer")

    def on_connection_closed(self, connection):
        print("closed", connection.close_cause.name, flush=True)

pool = ThreadPoolExecutor(2)
server = HttpServer(WebSocketHandler(Handler(), executor=pool), ServerConfig(port=0))
server.start_in_thread()
client = RawWebSocket.open(server.address)
client.send_text("question")
assert client.read_text() == "answer"

def answer():
    client.read_until_close()
    client.send_close(1001)
    client.read_end()

threading.Thread(target=answer, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [("", 0), ("sys.exit(3)", 3), ("server.stop()", 0), ("server.stop(); pool.shutdown()", 0)],
)
def test_the_interpreter_ends_without_a_word(ending: str, status: int) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM + ending],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    errors = without_slow_callbacks(program.stderr)
    assert (program.returncode, errors) == (status, "")
    assert program.stdout == "closed SERVER_STOP\n"


def test_nothing_keeps_a_handler_or_its_executor_alive() -> None:
    handler, pool = Recorder(), ThreadPoolExecutor(2)
    server = HttpServer(WebSocketHandler(handler, executor=pool), ServerConfig(port=0))
    server.start_in_thread()
    with RawWebSocket.open(server.address) as client:
        connection = handler.next("established")
        client.send_close()
        client.read_close()
    server.stop()
    pool.shutdown()
    references = [weakref.ref(thing) for thing in (handler, pool, server, connection)]
    while not handler.events.empty():
        handler.events.get()
    del handler, pool, server, connection
    gc.collect()
    assert [reference() for reference in references] == [None] * 4
