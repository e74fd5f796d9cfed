"""`WebSocketManager`: broadcasts, snapshots, counters, and everything at once."""

from __future__ import annotations

import collections
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CloseCause,
    CloseCode,
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.process import open_descriptors
from tests.websocket.raw_websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Frame,
    RawWebSocket,
    frame,
)
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

_RESPONSE = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
)
ROOMY = WebSocketConfig(send_queue_limit=1 << 30, max_message_size=1 << 26)


def test_a_broadcast_is_text_or_binary_and_reaches_everyone_but_the_excluded(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    manager = server.websocket_manager
    clients = []
    connections = []
    for _ in range(10):
        clients.append(RawWebSocket.open(server.address))
        connections.append(recorder.next("established"))
    manager.broadcast("text")
    manager.broadcast(b"bytes", exclude=connections[3])
    manager.broadcast(bytearray(b"array"))
    manager.broadcast(memoryview(b"view"))
    manager.broadcast("y" * 200_000)
    for number, client in enumerate(clients):
        assert client.read_frame() == Frame(0x80 | TEXT, b"text")
        if number != 3:
            assert client.read_frame() == Frame(0x80 | BINARY, b"bytes")
        assert client.read_frame() == Frame(0x80 | BINARY, b"array")
        assert client.read_frame() == Frame(0x80 | BINARY, b"view")
        assert client.read_text() == "y" * 200_000
        client.reset()


@pytest.mark.parametrize("wrong", [5, None, ["text"], object()])
def test_a_broadcast_of_something_else_is_refused(serve: Serve, wrong: Any) -> None:
    server = serve(Recorder())
    with pytest.raises(TypeError):
        server.websocket_manager.broadcast(wrong)
    with pytest.raises(TypeError):
        server.websocket_manager.broadcast("x", exclude=wrong or 5)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        server.websocket_manager.broadcast("\ud800")


def test_a_manager_is_there_before_and_after_its_server_runs() -> None:
    server = HttpServer(WebSocketHandler(Recorder()), ServerConfig(port=0))
    manager = server.websocket_manager
    assert isinstance(manager, WebSocketManager)
    manager.broadcast("to nobody")
    assert (len(manager), manager.connections) == (0, [])
    assert manager
    assert repr(manager) == "<WebSocketManager stopped, 0 connections>"
    with server:
        assert repr(manager) == "<WebSocketManager running, 0 connections>"
        assert server.websocket_manager is manager
    manager.broadcast("to nobody")
    assert repr(manager) == "<WebSocketManager stopped, 0 connections>"


def test_connections_are_a_snapshot(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    manager = server.websocket_manager
    first, second = RawWebSocket.open(server.address), RawWebSocket.open(server.address)
    ours = {recorder.next("established"), recorder.next("established")}
    snapshot = manager.connections
    assert set(snapshot) == ours
    assert len(manager) == 2
    first.reset()
    gone = recorder.next("closed")
    assert manager.connections == [*(ours - {gone})]
    assert len(snapshot) == 2
    second.reset()
    recorder.next("closed")
    assert len(manager) == 0


def test_stats_are_exact(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    manager = server.websocket_manager
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        client.send(frame(TEXT, b"12345") * 7 + frame(BINARY, b"1") + frame(PING, b"123"))
        assert client.read_frame().payload == b"123"
        connection.send_text("abc")
        manager.broadcast(b"abcd")
        client.read_frame()
        client.read_frame()
        client.send_close()
        client.read_close()
        client.read_end()
    recorder.wait_for("closed")
    server.stop()
    stats = manager.stats()
    assert stats.connections == 0
    assert stats.connections_total == 1
    assert stats.messages_received == 8
    assert stats.messages_sent == 2
    assert stats.bytes_received == 7 * 11 + 7 + 9 + 8
    response = len(_RESPONSE)
    assert stats.bytes_sent == response + 5 + 5 + 6 + 4
    with pytest.raises(AttributeError):
        stats.connections = 5  # type: ignore[misc]


def test_stop_closes_with_1001_and_calls_every_on_connection_closed(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    clients = [RawWebSocket.open(server.address) for _ in range(30)]
    for _ in clients:
        recorder.next("established")

    def answer(client: RawWebSocket) -> None:
        assert client.read_close()[0] == CloseCode.GOING_AWAY
        client.send_close(1001)
        client.read_end()

    threads = [threading.Thread(target=answer, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    server.stop()
    for thread in threads:
        thread.join()
    closed = set()
    while not recorder.events.empty():
        kind, value = recorder.events.get()
        if kind == "closed":
            assert value.close_cause is CloseCause.SERVER_STOP
            assert value.close_code == CloseCode.GOING_AWAY
            closed.add(value)
    assert len(closed) == len(clients)


def test_stop_is_bounded_when_a_client_never_answers(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    with RawWebSocket.open(server.address):
        connection = recorder.next("established")
        server.stop(timeout=0.3)
        assert recorder.next("closed") is connection
        with pytest.raises(ConnectionClosed):
            connection.send_text("late")


def test_send_broadcast_and_close_from_any_thread_while_the_server_stops(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(close_timeout=0.5))
    clients = [RawWebSocket.open(server.address) for _ in range(8)]
    connections = [recorder.next("established") for _ in clients]
    stopped = threading.Event()
    failures: list[BaseException] = []

    def work(connection: WebSocketConnection) -> None:
        try:
            while not stopped.is_set():
                server.websocket_manager.broadcast("x")
                try:
                    connection.send_text("y")
                except ConnectionClosed:
                    connection.close()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test fails
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in connections]
    for thread in threads:
        thread.start()
    server.stop(timeout=1.0)
    stopped.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(1 for _ in connections if recorder.wait_for("closed")) == len(connections)
    for client in clients:
        client.reset()


def test_close_twice_from_two_threads_at_once_with_sends(serve: Serve) -> None:
    recorder = Recorder()
    # On a busy machine the sender may have the interpreter for long, and the client does not read.
    server = serve(recorder, ROOMY)
    for _ in range(10):
        with RawWebSocket.open(server.address) as client:
            connection = recorder.wait_for("established")
            together = threading.Barrier(3)

            def close(
                code: int,
                connection: WebSocketConnection = connection,
                together: threading.Barrier = together,
            ) -> None:
                together.wait()
                connection.close(code)

            def send(
                connection: WebSocketConnection = connection,
                together: threading.Barrier = together,
            ) -> None:
                together.wait()
                for _ in itertools.repeat(None):
                    try:
                        connection.send_text("x")
                    except ConnectionClosed:
                        return

            threads = [threading.Thread(target=close, args=(4000 + number,)) for number in (1, 2)]
            threads.append(threading.Thread(target=send))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            _, code = client.read_until_close()
            assert code in {4001, 4002}
            client.send_close(code)
            assert client.read_end() == b"", "one CLOSE frame, and nothing behind it"


def test_eight_threads_send_ten_thousand_each_to_one_connection(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, ROOMY)
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")

        def send(sender: int) -> None:
            for number in range(10_000):
                connection.send_text(f"{sender} {number} {'x' * (number % 300)}")

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        expected = [0] * 8
        for text in itertools.islice(messages(client), 80_000):
            sender, number, filling = text.split(" ")
            assert int(number) == expected[int(sender)]
            assert len(filling) == int(number) % 300
            expected[int(sender)] += 1
        for thread in threads:
            thread.join()
        assert expected == [10_000] * 8


def messages(client: RawWebSocket) -> Any:
    """Yield text messages; faster than `read_frame` for many small ones."""
    buffer = b""
    while True:
        data = client.socket.recv(1 << 20)
        assert data
        buffer += data
        start = 0
        while len(buffer) - start >= 2:
            assert buffer[start] == 0x80 | TEXT
            length, body = buffer[start + 1], start + 2
            if length == 126:
                length, body = int.from_bytes(buffer[start + 2 : start + 4], "big"), start + 4
            if len(buffer) < body + length or body > len(buffer):
                break
            yield buffer[body : body + length].decode()
            start = body + length
        buffer = buffer[start:]


SENDERS, SENT = 4, 25_000
ASKERS, QUESTIONS = 4, 2_000


def read_by_source(client: RawWebSocket, count: int) -> dict[str, list[int]]:
    """Read messages such as ``reply 3 17``: the numbers that each source has sent, in order."""
    seen: dict[str, list[int]] = collections.defaultdict(list)
    for text in itertools.islice(messages(client), count):
        source, number = text.rsplit(" ", 1)
        seen[source].append(int(number))
    return seen


def send_to_all_in_turn(sender: int, connections: list[WebSocketConnection]) -> None:
    for number in range(SENT):
        connections[number % len(connections)].send_text(f"thread {sender} {number}")


def ask(asker: int, client: RawWebSocket) -> None:
    for number in range(QUESTIONS):
        client.send_text(f"{asker} {number}")


@pytest.mark.timeout(180)
def test_four_threads_send_while_callbacks_reply_and_broadcast(serve: Serve) -> None:
    """100,000 messages: nothing is lost, and each thread's order is kept."""

    class Busy(Recorder):
        manager: WebSocketManager

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            message.connection.send_text(f"reply {message.payload}")
            self.manager.broadcast(f"broadcast {message.payload}")

    handler = Busy()
    server = serve(handler, ROOMY)
    handler.manager = server.websocket_manager
    clients, connections = [], []
    for _ in range(ASKERS):
        clients.append(RawWebSocket.open(server.address))
        connections.append(handler.next("established"))
    expected = SENT * SENDERS // ASKERS + QUESTIONS + QUESTIONS * ASKERS
    with ThreadPoolExecutor(SENDERS + 2 * ASKERS) as pool:
        jobs = [pool.submit(send_to_all_in_turn, sender, connections) for sender in range(SENDERS)]
        jobs += [pool.submit(ask, *pair) for pair in enumerate(clients)]
        readers = [pool.submit(read_by_source, client, expected) for client in clients]
    for job in jobs:
        job.result()
    for number, reader in enumerate(readers):
        seen = reader.result()
        assert seen.pop(f"reply {number}") == list(range(QUESTIONS))
        for asker in range(ASKERS):
            assert seen.pop(f"broadcast {asker}") == list(range(QUESTIONS))
        for sender in range(SENDERS):
            assert seen.pop(f"thread {sender}") == list(range(number, SENT, ASKERS))
        assert not seen
    for client in clients:
        client.reset()


def test_a_thousand_connects_and_resets_from_sixteen_threads(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder)
    with RawWebSocket.open(server.address):
        recorder.next("established")
    recorder.next("closed")
    before = open_descriptors()
    made: list[int] = []

    def churn(thread: int) -> None:
        for number in range(64):
            client = RawWebSocket(server.address)
            # Some go before they are upgraded, some after, some in the middle of a frame.
            if (thread + number) % 3:
                client.upgrade()
                made.append(number)
            if (thread + number) % 3 == 2:
                client.send(frame(TEXT, b"half a frame")[:7])
            client.reset()

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    established = closed = 0
    while closed < len(made) or established < len(made):
        kind, _ = recorder.events.get(timeout=PATIENCE)
        established += kind == "established"
        closed += kind == "closed"
    with RawWebSocket.open(server.address) as client:
        client.send(frame(PING))
        client.read_frame()
        client.send(frame(CLOSE))
        client.read_end()
    recorder.wait_for("closed")
    assert len(server.websocket_manager) == 0
    server.stop()
    assert open_descriptors() <= before


def test_stalled_readers_cost_bounded_memory_and_nobody_elses_time(serve: Serve) -> None:
    limit = 256 * 1024
    recorder = Recorder()
    server = serve(recorder, WebSocketConfig(send_queue_limit=limit, close_timeout=0.2))
    stalled = [RawWebSocket.open(server.address, receive_buffer=4096) for _ in range(5)]
    slow = [recorder.next("established") for _ in stalled]
    readers = [RawWebSocket.open(server.address) for _ in range(5)]
    live = [recorder.next("established") for _ in readers]
    payload = b"x" * 32_768
    for number in range(400):
        server.websocket_manager.broadcast(payload)
        for client in readers:
            assert len(client.read_frame().payload) == len(payload), number
        assert all(connection.buffered_bytes <= limit for connection in slow)
    assert all(connection.is_open for connection in live)
    causes = {recorder.wait_for("closed").close_cause for _ in slow}
    assert causes == {CloseCause.SLOW_CONSUMER}
    for client in stalled + readers:
        client.reset()


def test_pings_are_answered_while_another_thread_keeps_the_interpreter_busy(serve: Serve) -> None:
    server = serve(WebSocketMessageHandler())
    busy = threading.Event()
    stop = threading.Event()

    def spin() -> None:
        busy.set()
        while not stop.is_set():
            sum(range(10_000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert busy.wait(PATIENCE)
        with RawWebSocket.open(server.address) as client:
            for number in range(100):
                client.send(frame(PING, str(number).encode()))
                assert client.read_frame().payload == str(number).encode()
    finally:
        stop.set()
        thread.join()


def test_an_ordinary_client_is_served(serve: Serve) -> None:
    import websocket  # noqa: PLC0415
    import websockets.sync.client  # noqa: PLC0415

    server = serve(Echo())
    host, port = server.address
    with websockets.sync.client.connect(f"ws://{host}:{port}", compression=None) as client:
        for message in ("text", "ü" * 100_000, b"\x00\xff" * 50_000, ["in ", "fragments"]):
            client.send(message)
            sent = "".join(message) if isinstance(message, list) else message
            assert client.recv(timeout=PATIENCE) == sent
        assert client.ping().wait(PATIENCE)
        client.close(4000, "done")
        assert (client.close_code, client.close_reason) == (4000, "done")
    other = websocket.create_connection(f"ws://{host}:{port}", timeout=PATIENCE)
    other.send("text")
    assert other.recv() == "text"
    other.send_binary(b"\x00" * 70_000)
    assert other.recv() == b"\x00" * 70_000
    other.close()
