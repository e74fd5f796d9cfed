"""`WebSocketConnection`: what it tells, what it takes and what it refuses."""

from __future__ import annotations

import array
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CloseCause,
    CloseCode,
    ConnectionClosed,
    HttpServer,
    SendResult,
    ServerConfig,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketError,
    WebSocketHandler,
)

from tests.websocket.raw_websocket import (
    BINARY,
    PING,
    TEXT,
    Frame,
    RawWebSocket,
    frame,
    request_head,
)
from tests.websocket.recorder import PATIENCE, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.websocket.conftest import Serve

Pair = tuple[RawWebSocket, WebSocketConnection]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def pair(serve: Serve, recorder: Recorder) -> Iterator[Pair]:
    """A client and the connection that it made."""
    server = serve(recorder)
    with RawWebSocket.open(server.address) as client:
        yield client, recorder.next("established")


def test_an_open_connection_tells_what_it_is(pair: Pair) -> None:
    client, connection = pair
    assert connection.is_open
    assert isinstance(connection.id, int)
    assert connection.remote_address == client.socket.getsockname()
    assert connection.subprotocol is None
    assert connection.buffered_bytes == 0
    assert connection.user_data is None
    assert connection.close_code is None
    assert connection.close_reason is None
    assert connection.close_cause is None
    assert repr(connection) == f"<WebSocketConnection {connection.id} open>"
    assert {connection: 1}[connection] == 1
    with pytest.raises(AttributeError):
        connection.id = 5  # type: ignore[misc]


def test_the_request_is_there_for_as_long_as_the_connection(
    serve: Serve, recorder: Recorder
) -> None:

    server = serve(recorder)
    with RawWebSocket(server.address) as client:
        client.send(request_head("/room/7?token=abc", {"Cookie": "session=42"}))
        client.read_response_head()
        connection = recorder.next("established")
        request = connection.request
        assert request.path == "/room/7"
        assert request.args["token"] == "abc"
        assert request.cookies["session"] == "42"
        assert request.headers["Sec-WebSocket-Version"] == "13"
        assert request.remote_addr == "127.0.0.1"
        assert connection.request is request


def test_ids_are_different(serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder)
    ids = set()
    for _ in range(20):
        with RawWebSocket.open(server.address):
            ids.add(recorder.wait_for("established").id)
    assert len(ids) == 20


def test_user_data_takes_any_object(pair: Pair) -> None:
    _, connection = pair
    data = {"name": "Ann"}
    connection.user_data = data
    assert connection.user_data is data
    connection.user_data = None
    assert connection.user_data is None


@pytest.mark.parametrize("text", ["", "ascii", "grüße", "日本語", "🎉" * 1000, "x" * 70_000])
def test_text_goes_out_as_it_is(pair: Pair, text: str) -> None:
    client, connection = pair
    assert connection.send_text(text) in {SendResult.QUEUED, SendResult.BACKPRESSURE}
    assert client.read_frame() == Frame(0x80 | TEXT, text.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"view"),
        memoryview(b"strided")[::2],
        array.array("I", [1, 2, 3]),
    ],
)
def test_binary_takes_anything_bytes_like(pair: Pair, data: Any) -> None:
    client, connection = pair
    assert connection.send_binary(data) is SendResult.QUEUED
    assert client.read_frame() == Frame(0x80 | BINARY, memoryview(data).tobytes())


def test_a_payload_may_change_after_it_was_sent(pair: Pair) -> None:
    client, connection = pair
    data = bytearray(b"before" * 20_000)
    connection.send_binary(data)
    data[:] = b"after!" * 20_000
    assert client.read_frame().payload == b"before" * 20_000


@pytest.mark.parametrize("wrong", [b"bytes", 5, None, ["a"]])
def test_text_must_be_a_str(pair: Pair, wrong: Any) -> None:
    _, connection = pair
    with pytest.raises(TypeError):
        connection.send_text(wrong)
    assert connection.is_open


@pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2]])
def test_binary_must_be_bytes_like(pair: Pair, wrong: Any) -> None:
    _, connection = pair
    with pytest.raises(TypeError):
        connection.send_binary(wrong)
    assert connection.is_open


def test_lone_surrogates_are_refused(pair: Pair) -> None:
    client, connection = pair
    with pytest.raises(UnicodeEncodeError):
        connection.send_text("\ud800")
    connection.send_text("fine")
    assert client.read_text() == "fine"


def test_ping(pair: Pair) -> None:
    client, connection = pair
    connection.ping()
    connection.ping(b"x" * 125)
    assert client.read_frame() == Frame(0x80 | PING, b"")
    assert client.read_frame() == Frame(0x80 | PING, b"x" * 125)
    with pytest.raises(ValueError, match="126 bytes"):
        connection.ping(b"x" * 126)
    with pytest.raises(TypeError):
        connection.ping("text")  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "bye"), (3000, "ü" * 61)])
def test_close_codes_arrive_as_they_were_given(
    pair: Pair, recorder: Recorder, code: int, reason: str
) -> None:
    client, connection = pair
    connection.close(code, reason)
    assert not connection.is_open
    assert client.read_close() == (code, reason)
    client.send_close(code)
    client.read_end()
    assert recorder.next("close") == (code, "")
    assert recorder.next("closed") is connection
    assert (connection.close_code, connection.close_reason) == (code, reason)
    assert connection.close_cause is CloseCause.LOCAL
    assert repr(connection) == f"<WebSocketConnection {connection.id} closed {code}>"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1, 1 << 70])
def test_codes_that_may_not_be_sent_are_refused(pair: Pair, code: int) -> None:
    client, connection = pair
    with pytest.raises((ValueError, TypeError), match="code"):
        connection.close(code)
    connection.send_text("still open")
    assert client.read_text() == "still open"


def test_what_close_refuses_changes_nothing(pair: Pair) -> None:
    client, connection = pair
    with pytest.raises(ValueError, match="124 bytes"):
        connection.close(1000, "x" * 124)
    with pytest.raises(TypeError, match="code"):
        connection.close("1000")  # type: ignore[arg-type]
    assert connection.is_open
    connection.close(CloseCode.GOING_AWAY)
    assert client.read_close() == (1001, "")


def test_a_closed_connection_raises_and_close_is_idempotent(pair: Pair, recorder: Recorder) -> None:
    client, connection = pair
    connection.send_text("before")
    connection.close(4000, "done")
    connection.close(4001)
    sends: list[Callable[[], object]] = [
        lambda: connection.send_text("x"),
        lambda: connection.send_binary(b"x"),
        connection.ping,
    ]
    for send in sends:
        with pytest.raises(ConnectionClosed, match="closing") as caught:
            send()
        assert isinstance(caught.value, WebSocketError)
    assert client.read_text() == "before"
    assert client.read_close() == (4000, "done")
    client.send_close(4000)
    client.read_end()
    recorder.wait_for("closed")
    with pytest.raises(ConnectionClosed, match='4000 "done"') as caught:
        connection.send_text("x")
    assert (caught.value.code, caught.value.reason) == (4000, "done")
    connection.close()
    assert connection.buffered_bytes == 0


def test_an_abrupt_end_is_told(pair: Pair, recorder: Recorder) -> None:
    client, connection = pair
    client.reset()
    assert recorder.next("closed") is connection
    assert connection.close_code == CloseCode.ABNORMAL
    assert connection.close_cause is CloseCause.NETWORK_ERROR
    assert not connection.is_open


def test_codes_of_the_peer_arrive_as_they_were_sent(pair: Pair, recorder: Recorder) -> None:
    client, connection = pair
    client.send_close(4001, "bye")
    assert client.read_close() == (4001, "bye")
    assert recorder.next("close") == (4001, "bye")
    assert recorder.next("closed") is connection
    assert (connection.close_code, connection.close_reason) == (4001, "bye")
    assert connection.close_cause is CloseCause.PEER


def test_backpressure_is_told_before_the_queue_is_full(serve: Serve, recorder: Recorder) -> None:
    limit = 4 << 20
    server = serve(recorder, WebSocketConfig(send_queue_limit=limit, close_timeout=0.2))
    with RawWebSocket.open(server.address, receive_buffer=4096) as client:
        connection = recorder.next("established")
        results: list[SendResult] = []
        while not results or results[-1] is not SendResult.DROPPED:
            results.append(connection.send_binary(b"x" * 65_536))
            assert connection.buffered_bytes <= limit
        assert SendResult.QUEUED in results
        assert SendResult.BACKPRESSURE in results
        with pytest.raises(ConnectionClosed):
            connection.send_text("late")
        whole, code = client.read_until_close()
        assert code == CloseCode.POLICY_VIOLATION
        assert whole < len(results)
    assert recorder.wait_for("closed").close_cause is CloseCause.SLOW_CONSUMER


def test_a_message_above_the_limit_goes_out_alone(serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder, WebSocketConfig(send_queue_limit=1000))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        assert connection.send_binary(b"x" * 100_000) is SendResult.BACKPRESSURE
        assert len(client.read_frame().payload) == 100_000


def test_a_closed_connection_can_be_kept_and_collected(serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder)
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        client.send_text("keep me")
        recorder.next("text")
    recorder.next("closed")
    server.stop()
    reference = weakref.ref(connection)
    # A cycle through user_data, which the collector has to see.
    connection.user_data = [connection, recorder]
    del connection
    gc.collect()
    assert reference() is None


def test_a_cycle_through_the_request_is_collected(serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder)
    with RawWebSocket.open(server.address):
        connection = recorder.next("established")
    recorder.next("closed")
    server.stop()
    connection.request.owner = connection
    reference = weakref.ref(connection)
    del connection
    gc.collect()
    assert reference() is None


def test_messages_kept_in_their_connection_are_collected(serve: Serve) -> None:
    class Keeper(Recorder):
        def on_text_message(self, message: Any) -> None:
            message.connection.user_data = message
            super().on_text_message(message)

    handler = Keeper()
    server = serve(handler)
    references = []
    for _ in range(5):  # also when the memory of an earlier message is used again
        with RawWebSocket.open(server.address) as client:
            references.append(weakref.ref(handler.next("established")))
            client.send_text("keep me")
            handler.next("text")
        handler.next("closed")
    server.stop()
    gc.collect()
    assert [reference() for reference in references] == [None] * 5


def test_cycles_between_server_and_handler_are_collected() -> None:
    class Knowing(Recorder):
        server: HttpServer

    handler = Knowing()
    handler.server = HttpServer(WebSocketHandler(handler), ServerConfig(port=0))
    with handler.server as server, RawWebSocket.open(server.address) as client:
        connection = handler.next("established")
        connection.user_data = handler
        client.send_close()
        client.read_close()
        handler.wait_for("closed")
    things: list[Any] = [handler, server, connection, server.websocket_manager]
    references = [weakref.ref(thing) for thing in things]
    things.clear()
    del handler, server, connection
    gc.collect()
    assert [reference for reference in references if reference() is not None] == []


def test_messages_can_be_kept_longer_than_anything_else(serve: Serve) -> None:
    kept: list[Any] = []
    came = threading.Event()

    class Keeper(Recorder):
        def on_text_message(self, message: Any) -> None:
            kept.append(message)
            came.set()

    handler = Keeper()
    server = serve(handler)
    with RawWebSocket.open(server.address) as client:
        client.send(frame(TEXT, b"kept"))
        assert came.wait(PATIENCE)
    handler.wait_for("closed")
    server.stop()
    (message,) = kept
    assert message.payload == "kept"
    assert message.connection.close_code == CloseCode.ABNORMAL
    assert repr(message) == "<WebSocketTextMessage 'kept'>"


def test_messages_that_are_kept_stay_as_they_are(serve: Serve) -> None:
    # Those that nobody keeps are one object, again and again; these must not be.
    class Keeper(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[Any] = []

        def on_text_message(self, message: Any) -> None:
            if int(message.payload) % 3 == 0:
                self.kept.append(message)
            message.connection.send_text(message.payload)

        def on_binary_message(self, message: Any) -> None:
            if int(message.payload) % 2 == 0:
                self.kept.append(message)

    handler = Keeper()
    server = serve(handler)
    with RawWebSocket.open(server.address) as one, RawWebSocket.open(server.address) as other:
        connections = [handler.next("established"), handler.next("established")]
        for client in (one, other):
            numbers = range(60)
            client.send(b"".join(frame(TEXT if n % 5 else BINARY, b"%d" % n) for n in numbers))
        for client in (one, other):
            assert [int(client.read_text()) for _ in range(48)] == [n for n in range(60) if n % 5]
    texts = [str(number) for number in range(60) if number % 5 and number % 3 == 0]
    binaries = [b"%d" % number for number in range(0, 60, 10)]
    for connection in connections:
        mine = [message.payload for message in handler.kept if message.connection is connection]
        assert [payload for payload in mine if isinstance(payload, str)] == texts
        assert [payload for payload in mine if isinstance(payload, bytes)] == binaries
    assert len({id(message) for message in handler.kept}) == 2 * (len(texts) + len(binaries))


@pytest.mark.parametrize("text", ["", "a", "\x7f", "é", "ab", "Hello", "naïve", "10 €", "😀" * 40])
def test_text_comes_as_the_string_that_it_is(serve: Serve, recorder: Recorder, text: str) -> None:
    server = serve(recorder)
    for payload in (text, text * 200):
        with RawWebSocket.open(server.address) as client:
            recorder.next("established")
            client.send_text(payload)
            came = recorder.next("text")
        recorder.next("closed")
        assert came == payload
        assert hash(came) == hash(payload)
        assert came.isascii() == payload.isascii()
        assert came + "!" == payload + "!"
