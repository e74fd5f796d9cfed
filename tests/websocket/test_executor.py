"""Callbacks on an executor: parallel between connections, and as ever within each of them."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CloseCause,
    ConnectionClosed,
    SendResult,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.websocket.raw_websocket import BINARY, TEXT, RawWebSocket, frame, request_head
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.websocket.conftest import Serve

CALLBACKS = [
    "on_connection_established",
    "on_text_message",
    "on_binary_message",
    "on_close_message",
    "on_connection_closed",
]


@pytest.fixture(params=[1, 8])
def any_pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(request.param, thread_name_prefix="pool") as executor:
        yield executor


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8, thread_name_prefix="pool") as executor:
        yield executor


class Watch(WebSocketMessageHandler):
    """Notes each callback of each connection, and whether two of one connection overlap."""

    def __init__(self) -> None:
        self.seen: dict[int, list[str]] = {}
        self.overlaps: list[str] = []
        self.threads: set[str] = set()
        self.closed = threading.Semaphore(0)
        self._inside: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def act(self, what: str, connection: WebSocketConnection) -> None:
        """Do what the test is about, in every callback."""

    def _note(self, what: str, connection: WebSocketConnection) -> None:
        with self._lock:
            inside = self._inside.setdefault(connection.id, threading.Lock())
            self.threads.add(threading.current_thread().name)
        if not inside.acquire(blocking=False):
            self.overlaps.append(what)
            return
        try:
            self.seen.setdefault(connection.id, []).append(what)
            self.act(what, connection)
        finally:
            inside.release()
            if what == "closed":
                self.closed.release()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        self._note("established", connection)

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        self._note(message.payload, message.connection)

    def on_binary_message(self, message: Any) -> None:
        self._note(message.payload.decode(), message.connection)

    def on_close_message(self, message: Any) -> None:
        self._note("close", message.connection)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self._note("closed", connection)

    def wait_until_closed(self, count: int) -> None:
        for _ in range(count):
            assert self.closed.acquire(timeout=PATIENCE)
        assert self.overlaps == []
        assert all(name.startswith("pool") for name in self.threads), self.threads


def open_path(address: tuple[str, int], path: str) -> RawWebSocket:
    client = RawWebSocket(address)
    client.send(request_head(path))
    assert client.read_response_head()[0] == 101
    return client


def test_each_connection_is_in_order_and_never_in_two_callbacks(
    serve: Serve, any_pool: ThreadPoolExecutor
) -> None:
    class Slow(Watch):
        def act(self, what: str, connection: WebSocketConnection) -> None:
            time.sleep(random.random() / 1000)
            if what.isdigit():
                connection.send_text(what)

    handler = Slow()
    server = serve(WebSocketHandler(handler, executor=any_pool))
    numbers = [str(number) for number in range(20)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket.open(server.address)) for _ in range(50)]
        for number in numbers:
            for client in clients:
                client.send_text(number)
        for client in clients:
            client.send_close()
        for client in clients:
            assert [client.read_text() for _ in numbers] == numbers
            assert client.read_close()[0] == 1000
    handler.wait_until_closed(len(clients))
    assert len(handler.seen) == len(clients)
    for seen in handler.seen.values():
        assert seen == ["established", *numbers, "close", "closed"]


def test_connections_are_served_in_parallel(serve: Serve, pool: ThreadPoolExecutor) -> None:
    meeting = threading.Barrier(2)

    class Meeting(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            meeting.wait(PATIENCE)
            message.connection.send_text("met")

    server = serve(WebSocketHandler(Meeting(), executor=pool))
    with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as two:
        one.send_text("here")
        two.send_text("here")
        assert one.read_text() == two.read_text() == "met"


def test_the_greeting_comes_before_any_broadcast(
    serve: Serve, any_pool: ThreadPoolExecutor
) -> None:
    class Greeting(WebSocketMessageHandler):
        def on_connection_established(self, connection: WebSocketConnection) -> None:
            connection.send_text("hello")
            time.sleep(0.001)
            connection.send_text(connection.request.path)

    server = serve(WebSocketHandler(Greeting(), executor=any_pool))
    over = threading.Event()

    def report() -> None:
        while not over.wait(0.0005):
            server.websocket_manager.broadcast("news")

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        for number in range(40):
            with open_path(server.address, f"/{number}") as client:
                assert client.read_text() == "hello"
                while (text := client.read_text()) != f"/{number}":
                    assert text == "news"
    finally:
        over.set()
        reporter.join()


def test_a_handshake_waits_for_its_greeting_and_misses_nothing_behind_it(
    serve: Serve, pool: ThreadPoolExecutor
) -> None:
    greet, begun = threading.Event(), threading.Event()

    class Late(Recorder):
        def on_connection_established(self, connection: WebSocketConnection) -> None:
            begun.set()
            assert greet.wait(PATIENCE)
            connection.send_text("hello")
            super().on_connection_established(connection)

    handler = Late()
    server = serve(WebSocketHandler(handler, executor=pool))
    with RawWebSocket(server.address) as client:
        client.send(request_head() + frame(TEXT, b"early"))
        assert begun.wait(PATIENCE)
        client.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
        client.socket.settimeout(PATIENCE)
        assert len(server.websocket_manager) == 1
        greet.set()
        assert client.read_response_head()[0] == 101
        server.websocket_manager.broadcast("news")
        assert client.read_text() == "hello"
        assert client.read_text() == "news"
    handler.next("established")
    assert handler.next("text") == "early"


def test_last_words_stand_before_the_answering_close(
    serve: Serve, any_pool: ThreadPoolExecutor
) -> None:
    class Polite(Echo):
        def on_close_message(self, message: Any) -> None:
            time.sleep(0.01)
            assert message.connection.is_open
            assert message.connection.send_text("goodbye") is SendResult.QUEUED

    server = serve(WebSocketHandler(Polite(), executor=any_pool))
    for _ in range(10):
        with RawWebSocket.open(server.address) as client:
            client.send_text("question")
            client.send_close(4001, "bye")
            assert client.read_text() == "question"
            assert client.read_text() == "goodbye"
            assert client.read_close() == (4001, "bye")
            assert client.read_end() == b""


@pytest.mark.parametrize(
    ("bad", "code"),
    [(frame(3, b"?"), 1002), (frame(TEXT, b"\xff"), 1007), (frame(TEXT, b"a", mask=False), 1002)],
)
def test_the_close_of_a_protocol_error_stands_behind_the_replies(
    serve: Serve, pool: ThreadPoolExecutor, bad: bytes, code: int
) -> None:
    class Slow(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            time.sleep(0.002)
            message.connection.send_text(message.payload)

    handler = Slow()
    server = serve(WebSocketHandler(handler, executor=pool))
    with RawWebSocket.open(server.address) as client:
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(40)) + bad)
        assert [client.read_text() for _ in range(40)] == [str(number) for number in range(40)]
        assert client.read_close()[0] == code
        client.read_end()
    handler.next("established")
    assert handler.next("closed").close_cause is CloseCause.PROTOCOL_ERROR


def test_no_message_is_delivered_behind_a_close(serve: Serve, pool: ThreadPoolExecutor) -> None:
    class Closing(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            super().on_text_message(message)
            if message.payload == "2":
                message.connection.close(4000, "enough")
                with pytest.raises(ConnectionClosed):
                    message.connection.send_text("late")

    handler = Closing()
    server = serve(WebSocketHandler(handler, executor=pool))
    with RawWebSocket.open(server.address) as client:
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(100)))
        assert client.read_close() == (4000, "enough")
        client.send_close(4000)
        client.read_end()
    kinds = [handler.events.get(timeout=PATIENCE)[0] for _ in range(6)]
    assert kinds == ["established", "text", "text", "text", "close", "closed"]


def test_every_callback_may_send_broadcast_and_close(
    serve: Serve, any_pool: ThreadPoolExecutor
) -> None:
    class Acting(Watch):
        def act(self, what: str, connection: WebSocketConnection) -> None:
            server.websocket_manager.broadcast(what, exclude=connection)
            if what == "closed":
                with pytest.raises(ConnectionClosed):
                    connection.send_text(what)
            else:
                connection.send_text(what)
                assert connection in server.websocket_manager.connections
            if what in {"close", "closed"}:
                connection.close(4000)

    handler = Acting()
    server = serve(WebSocketHandler(handler, executor=any_pool))
    names = ["established", "text", "binary", "close", "closed"]
    with RawWebSocket.open(server.address) as listener:
        assert listener.read_text() == "established"
        with RawWebSocket.open(server.address) as client:
            client.send(frame(TEXT, b"text") + frame(BINARY, b"binary"))
            client.send_close(4001)
            assert [client.read_text() for _ in names[:-1]] == names[:-1]
            assert client.read_close()[0] == 4001
            assert [listener.read_text() for _ in names] == names
    handler.wait_until_closed(2)


@pytest.mark.parametrize("exception", [ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("failing", CALLBACKS)
def test_an_exception_ends_its_connection_and_nothing_else(
    serve: Serve,
    pool: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
    failing: str,
    exception: type[BaseException],
) -> None:
    class Failing(Recorder):
        pass

    def fail(self: Failing, argument: Any) -> None:
        getattr(Recorder, failing)(self, argument)
        connection = getattr(argument, "connection", argument)
        if connection.request.path != "/spared":
            raise exception(failing)

    setattr(Failing, failing, fail)
    handler = Failing()
    server = serve(WebSocketHandler(handler, executor=pool))
    with open_path(server.address, "/spared") as other:
        spared = handler.next("established")
        with RawWebSocket.open(server.address) as client:
            client.send(frame(TEXT, b"text") + frame(BINARY, b"binary"))
            early = failing in CALLBACKS[:3]
            if not early:
                client.send_close()
            assert client.read_close()[0] == (1011 if early else 1000)
            client.send_close()
            client.read_end()
            connection, raised = handler.wait_for("error")
            assert connection is not spared
            assert isinstance(raised, exception)
        other.send(frame(9, b"alive"))
        assert other.read_frame().payload == b"alive"
    server.stop()
    assert connection.close_cause is (CloseCause.HANDLER_ERROR if early else CloseCause.PEER)
    assert f"{failing} failed" in caplog.text
    assert [record.exc_info is not None for record in caplog.records if record.exc_info] == [True]


def test_what_is_no_executor_is_refused() -> None:
    for wrong in (object(), "submit", print):
        with pytest.raises(TypeError, match="submit"):
            WebSocketHandler(Echo(), executor=wrong)  # type: ignore[arg-type]
    with ProcessPoolExecutor(1) as processes, pytest.raises(TypeError, match="this process"):
        WebSocketHandler(Echo(), executor=processes)
