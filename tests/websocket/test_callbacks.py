"""What a handler is told, in which order, and what it may do meanwhile."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CloseCause,
    CloseCode,
    ConnectionClosed,
    HttpServer,
    SendResult,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)
from handy_ws._core import PanicException

from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    close_payload,
    frame,
    request_head,
)
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

CALLBACKS = [
    "on_connection_established",
    "on_text_message",
    "on_binary_message",
    "on_close_message",
    "on_connection_closed",
]


class InEvery(WebSocketMessageHandler):
    """Does the same thing in every callback."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.done = threading.Event()

    def act(self, name: str, connection: WebSocketConnection) -> None:
        raise NotImplementedError

    def _note(self, name: str, connection: WebSocketConnection) -> None:
        self.called.append(name)
        try:
            self.act(name, connection)
        finally:
            if name == "on_connection_closed":
                self.done.set()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        self._note("on_connection_established", connection)

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        self._note("on_text_message", message.connection)

    def on_binary_message(self, message: Any) -> None:
        self._note("on_binary_message", message.connection)

    def on_close_message(self, message: Any) -> None:
        self._note("on_close_message", message.connection)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        self._note("on_connection_closed", connection)


def converse(server: HttpServer) -> None:
    """Bring about every callback."""
    with RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"text") + frame(BINARY, b"binary"))
        client.send_close(4001, "bye")
        client.read_until_close()
        client.read_end()


def test_callbacks_come_in_order_and_closed_once_and_last(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    converse(server)
    connection = recorder.next("established")
    assert recorder.next("text") == "text"
    assert recorder.next("binary") == b"binary"
    assert recorder.next("close") == (4001, "bye")
    assert recorder.next("closed") is connection
    assert (connection.close_code, connection.close_reason) == (4001, "bye")
    assert connection.close_cause is CloseCause.PEER
    server.stop()
    assert recorder.events.empty()


def test_established_comes_before_messages_that_came_with_the_handshake(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    for _ in range(50):
        with RawWebSocket(server.address) as client:
            client.send(request_head() + frame(TEXT, b"first") + frame(CLOSE, close_payload(1000)))
            kinds = [recorder.events.get(timeout=PATIENCE)[0] for _ in range(4)]
            assert kinds == ["established", "text", "close", "closed"]
            client.read_end()


def test_broadcast_in_every_callback_returns_and_delivers(serve: Serve) -> None:
    class Broadcasting(InEvery):
        manager: WebSocketManager

        def act(self, name: str, connection: WebSocketConnection) -> None:
            self.manager.broadcast(name, exclude=connection)

    handler = Broadcasting()
    server = serve(handler)
    handler.manager = server.websocket_manager
    with RawWebSocket.open(server.address) as listener:
        converse(server)
        assert [listener.read_text() for _ in CALLBACKS] == CALLBACKS


def test_close_in_every_callback(serve: Serve) -> None:
    class Closing(InEvery):
        which = ""

        def act(self, name: str, connection: WebSocketConnection) -> None:
            if name == self.which:
                connection.close(4321, name)
                connection.close(4322, "only the first counts")

    for name in CALLBACKS[:3]:
        handler = Closing()
        handler.which = name
        server = serve(handler)
        with RawWebSocket.open(server.address) as client:
            client.send(frame(TEXT, b"text") + frame(BINARY, b"binary"))
            assert client.read_close() == (4321, name)
            client.send_close(4321)
            client.read_end()
        assert handler.done.wait(PATIENCE)
        until = CALLBACKS.index(name) + 1
        assert handler.called == CALLBACKS[:until] + CALLBACKS[3:], "nothing between close and end"
    for name in CALLBACKS[3:]:
        handler = Closing()
        handler.which = name
        converse(serve(handler))
        assert handler.done.wait(PATIENCE)
        assert handler.called == CALLBACKS


def test_a_last_message_goes_out_in_on_close_message(serve: Serve) -> None:
    class Polite(WebSocketMessageHandler):
        def on_close_message(self, message: Any) -> None:
            assert message.connection.is_open
            assert message.connection.send_text("goodbye") is SendResult.QUEUED

    server = serve(Polite())
    with RawWebSocket.open(server.address) as client:
        client.send_close(1000, "bye")
        assert client.read_text() == "goodbye"
        assert client.read_close()[0] == CloseCode.NORMAL


@pytest.mark.parametrize("failing", CALLBACKS)
def test_an_exception_ends_its_connection_and_nothing_else(
    serve: Serve, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    errors: list[tuple[int, BaseException]] = []
    closed: list[int] = []

    class Failing(InEvery):
        def act(self, name: str, connection: WebSocketConnection) -> None:
            if name == "on_connection_closed":
                closed.append(connection.id)
            if name == failing and not self.spared(connection):
                message = f"deliberate in {name}"
                raise ZeroDivisionError(message)

        def spared(self, connection: WebSocketConnection) -> bool:
            return connection.request.path == "/spared"

        def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
            errors.append((connection.id, exception))

    handler = Failing()
    server = serve(handler)

    with RawWebSocket(server.address) as other:
        other.send(request_head("/spared"))
        assert other.read_response_head()[0] == 101
        with (
            caplog.at_level(logging.ERROR, logger="handy_ws"),
            RawWebSocket.open(server.address) as client,
        ):
            client.send(frame(TEXT, b"text") + frame(BINARY, b"binary"))
            if failing in CALLBACKS[3:]:
                client.send_close()
            _, code = client.read_until_close()
            early = failing in CALLBACKS[:3]
            assert code == (CloseCode.INTERNAL_ERROR if early else CloseCode.NORMAL)
            if early:
                client.send_close(code)
            client.read_end()
            assert handler.done.wait(PATIENCE)
        other.send(frame(PING, b"alive"))
        assert other.read_frame().payload == b"alive"
        other.send_close()
        other.read_close()
    server.stop()
    assert len(closed) == 2, "each closed once"
    assert len(set(closed)) == 2
    assert len(errors) == 1
    assert isinstance(errors[0][1], ZeroDivisionError)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.name == "handy_ws"
    assert failing in record.getMessage()
    assert f"deliberate in {failing}" in caplog.text
    assert "Traceback" in caplog.text


def test_an_exception_in_on_error_is_logged_too(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Worse(Echo):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            if message.payload != "fine":
                raise KeyError(message.payload)
            super().on_text_message(message)

        def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
            raise SystemExit(connection, exception)

    server = serve(Worse())
    with RawWebSocket.open(server.address) as client, RawWebSocket.open(server.address) as other:
        client.send_text("bad")
        assert client.read_close()[0] == CloseCode.INTERNAL_ERROR
        other.send_text("fine")
        assert other.read_text() == "fine"
    assert "KeyError" in caplog.text
    assert "SystemExit" in caplog.text


def test_a_panic_of_rust_code_ends_its_connection_and_nothing_else(
    serve: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Panicking(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            raise PanicException(message.payload)

    handler = Panicking()
    server = serve(handler)
    with RawWebSocket.open(server.address) as client, RawWebSocket.open(server.address) as other:
        client.send_text("deliberate panic")
        assert client.read_close()[0] == CloseCode.INTERNAL_ERROR
        _, exception = handler.wait_for("error")
        assert isinstance(exception, PanicException)
        assert "deliberate panic" in str(exception)
        other.send(frame(PING, b"alive"))
        assert other.read_frame().payload == b"alive"
    assert "on_text_message failed" in caplog.text
    assert "resuming a panic" in capfd.readouterr().err, "PyO3 says so on stderr"


def test_the_cause_of_a_failed_callback_is_told(serve: Serve) -> None:
    recorder = Recorder()

    def fail(message: WebSocketTextMessage) -> None:
        raise ValueError(message.payload)

    recorder.on_text_message = fail  # type: ignore[method-assign]  # an override of the instance
    server = serve(recorder)
    with RawWebSocket.open(server.address) as client:
        client.send_text("x")
        assert client.read_close() == (1011, "handler error")
        client.send_close(1011)
        client.read_end()
    connection = recorder.wait_for("closed")
    assert connection.close_cause is CloseCause.HANDLER_ERROR
    assert connection.close_code == CloseCode.INTERNAL_ERROR


def test_any_callable_can_be_a_callback(serve: Serve) -> None:
    class Callable:
        def __call__(self, message: WebSocketTextMessage) -> None:
            message.connection.send_text(f"object {message.payload}")

    class Handler(WebSocketMessageHandler):
        @staticmethod
        def on_binary_message(message: Any) -> None:
            message.connection.send_text(f"static {message.payload!r}")

        @classmethod
        def on_close_message(cls, message: Any) -> None:
            message.connection.send_text(f"class {cls.__name__}")

    handler = Handler()
    handler.on_text_message = Callable()  # type: ignore[method-assign]
    # A function of another class, bound to nothing.
    handler.on_connection_established = WebSocketConnection.close  # type: ignore[method-assign,assignment]
    server = serve(handler)
    with RawWebSocket.open(server.address) as client:
        assert client.read_close() == (1000, "")
    del handler.on_connection_established
    server = serve(handler)
    with RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"x") + frame(BINARY, b"y") + frame(CLOSE, close_payload(1000)))
        answers = [client.read_text() for _ in range(3)]
    assert answers == ["object x", "static b'y'", "class Handler"]


def test_callbacks_that_are_not_overridden_cost_no_objects(serve: Serve) -> None:
    class OnlyText(WebSocketMessageHandler):
        def __init__(self) -> None:
            self.messages: list[str] = []
            self.came = threading.Event()

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            self.messages.append(message.payload)
            self.came.set()

    handler = OnlyText()
    server = serve(handler)
    with RawWebSocket.open(server.address) as client:
        client.send(frame(BINARY, b"to nobody") * 100 + frame(TEXT, b"to us"))
        assert handler.came.wait(PATIENCE)
        client.send_close()
        assert client.read_close()[0] == CloseCode.NORMAL
    assert handler.messages == ["to us"]
    assert server.websocket_manager.stats().messages_received == 101


def test_a_handler_must_be_a_message_handler() -> None:
    with pytest.raises(TypeError, match="WebSocketMessageHandler"):
        WebSocketHandler(object())  # type: ignore[arg-type]


def test_no_message_is_delivered_behind_a_close(serve: Serve) -> None:
    class CloseAtOnce(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            super().on_text_message(message)
            message.connection.close()
            with pytest.raises(ConnectionClosed):
                message.connection.send_text("late")

    handler = CloseAtOnce()
    server = serve(handler)
    with RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"first") + frame(TEXT, b"second") * 10)
        assert client.read_close()[0] == CloseCode.NORMAL
        client.send(frame(TEXT, b"third"))
        client.send_close()
        client.read_end()
    assert handler.next("established") is not None
    assert handler.next("text") == "first"
    assert handler.next("close") == (1000, "")
    assert handler.next("closed").close_cause is CloseCause.LOCAL


def test_an_unasked_pong_is_ignored_and_a_ping_answered(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    with RawWebSocket.open(server.address) as client:
        client.send(frame(PONG, b"unasked") + frame(PING, b"x" * 125) + frame(PING))
        assert client.read_frame().payload == b"x" * 125
        assert client.read_frame().first == 0x80 | PONG
    recorder.next("established")
    recorder.next("closed")
