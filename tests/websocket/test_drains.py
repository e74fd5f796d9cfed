"""How those who send learn that a queue is empty again: `on_drain` and `wait_drained`."""

from __future__ import annotations

import queue
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCause,
    ConnectionClosed,
    HttpServer,
    SendResult,
    ServerConfig,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import PATIENCE, Recorder
from tests.websocket.slow import (
    LIMIT,
    Drained,
    config,
    fill,
    jam,
    numbered,
    read_numbers,
)

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

# Drains


def test_a_drain_comes_once_each_time_and_between_first_and_last(serve: Serve) -> None:
    recorder = Drained()
    server = serve(recorder, config("drop_newest"))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        for _ in range(5):
            connection.send_text("little")  # no reason for a drain
            assert client.read_text() == "little"
            for number in range(jam(connection, server, recorder)):
                assert client.read_text() == numbered(number)
            assert recorder.next("drain") is connection
            assert connection.buffered_bytes == 0
        jam(connection, server, recorder)
        connection.close()
        client.read_until_close()
        client.send_close()
    recorder.next("close")
    assert recorder.next("closed") is connection, "nobody is asked for more behind a close()"


class Streaming(WebSocketMessageHandler):
    """Sends numbers, as many at a time as there is room for, when it is asked for them."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        connection = message.connection
        connection.user_data = iter([*map(numbered, range(int(message.payload))), "last"])
        self.on_drain(connection)

    def on_drain(self, connection: WebSocketConnection) -> None:
        self.threads.add(threading.current_thread().name)
        for text in connection.user_data:
            result = connection.send_text(text)
            assert result is not SendResult.DROPPED
            if result is SendResult.BACKPRESSURE:
                return


def test_a_handler_can_stream_by_drains_alone(serve: Serve) -> None:
    handler = Streaming()
    server = serve(handler, config("close"))
    clients = [RawWebSocket.open(server.address) for _ in range(3)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for client in clients:
            client.send_text("300")
        for numbers in pool.map(read_numbers, clients):
            assert numbers == list(range(300))
    assert handler.threads == {"handy-ws-manager"}
    for client in clients:
        client.reset()


def test_a_drain_that_raises_ends_its_connection(serve: Serve) -> None:
    class Raising(Recorder):
        def on_drain(self, connection: WebSocketConnection) -> None:
            assert connection.buffered_bytes == 0
            raise ZeroDivisionError

    recorder = Raising()
    server = serve(recorder, config("drop_newest"))
    with RawWebSocket.open(server.address) as client:
        connection = recorder.next("established")
        fill(connection)
        client.read_until_close()
        failed, exception = recorder.next("error")
        assert failed is connection
        assert isinstance(exception, ZeroDivisionError)
        client.send_close(1011)
        recorder.next("close")
        assert recorder.next("closed").close_cause is CloseCause.HANDLER_ERROR


# Waiting


def test_a_thread_that_streams_waits_and_loses_nothing(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, config("close"))
    with RawWebSocket.open(server.address) as client, ThreadPoolExecutor(1) as pool:
        connection = recorder.next("established")

        def stream() -> None:
            for number in range(300):
                if connection.send_text(numbered(number)) is SendResult.BACKPRESSURE:
                    assert connection.wait_drained()
            connection.send_text("last")

        streaming = pool.submit(stream)
        assert read_numbers(client) == list(range(300))
        streaming.result()


def test_waiting_ends_with_the_time_or_with_the_connection(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder, config("drop_newest"))
    client = RawWebSocket.open(server.address)
    connection = recorder.next("established")
    assert connection.wait_drained(0)
    assert connection.wait_drained()
    jam(connection, server, recorder)
    assert not connection.wait_drained(0)
    assert not connection.wait_drained(timeout=0.05)
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            connection.wait_drained(wrong)
    with pytest.raises(TypeError):
        connection.wait_drained("1")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(connection.wait_drained, timeout) for timeout in (None, 1e300)]
        client.reset()
        for future in waiting:
            with pytest.raises(ConnectionClosed):
                future.result(PATIENCE)
    recorder.wait_for("closed")
    with pytest.raises(ConnectionClosed) as closed:
        connection.wait_drained()
    assert closed.value.code == 1006


def test_a_callback_cannot_wait_for_its_own_manager(serve: Serve) -> None:
    outcome: queue.SimpleQueue[object] = queue.SimpleQueue()

    class Waiting(Recorder):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            try:
                outcome.put(message.connection.wait_drained())
            except RuntimeError as error:
                outcome.put(error)
            outcome.put(other_connection.wait_drained(PATIENCE))

    other_recorder = Recorder()
    other = serve(other_recorder, config("drop_newest"))
    with RawWebSocket.open(other.address) as other_client:
        other_connection = other_recorder.next("established")
        queued = jam(other_connection, other, other_recorder)
        server = serve(Waiting())
        with RawWebSocket.open(server.address) as client:
            client.send_text("wait")
            error = outcome.get(timeout=PATIENCE)
            assert isinstance(error, RuntimeError)
            assert "manager" in str(error)
            for number in range(queued):
                assert other_client.read_text() == numbered(number)
            assert outcome.get(timeout=PATIENCE) is True, "it may wait for another manager"


def test_a_signal_ends_a_wait_on_the_main_thread(serve: Serve) -> None:
    class SignalError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise SignalError

    recorder = Recorder()
    server = serve(recorder, config("drop_newest"))
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, interrupt)
    with RawWebSocket.open(server.address):
        connection = recorder.next("established")
        jam(connection, server, recorder)
        timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR1))
        timer.start()
        try:
            with pytest.raises(SignalError):
                connection.wait_drained(PATIENCE)
        finally:
            timer.join()  # or the signal would come later, and end everything
            signal.signal(signal.SIGUSR1, before)


def test_a_server_stops_while_threads_wait() -> None:
    recorder = Recorder()
    websocket = WebSocketConfig(send_queue_limit=LIMIT, slow_consumer="drop_newest")
    server = HttpServer(WebSocketHandler(recorder), ServerConfig(port=0, websocket=websocket))
    server.start_in_thread()
    with RawWebSocket.open(server.address), ThreadPoolExecutor(4) as pool:
        connection = recorder.next("established")
        jam(connection, server, recorder)
        waiting = [pool.submit(connection.wait_drained) for _ in range(4)]
        server.stop(timeout=0.2)
        for future in waiting:
            with pytest.raises(ConnectionClosed):
                future.result(PATIENCE)


# On an executor


def serve_on(
    pool: ThreadPoolExecutor, handler: WebSocketMessageHandler, serve: Serve
) -> HttpServer:
    return serve(WebSocketHandler(handler, executor=pool), config("close"))


def test_a_handler_on_an_executor_streams_by_drains(serve: Serve) -> None:
    handler = Streaming()
    with ThreadPoolExecutor(2, "pool") as pool:
        server = serve_on(pool, handler, serve)
        clients = [RawWebSocket.open(server.address) for _ in range(3)]
        with ThreadPoolExecutor(len(clients)) as readers:
            for client in clients:
                client.send_text("300")
            for numbers in readers.map(read_numbers, clients):
                assert numbers == list(range(300))
        assert handler.threads <= {"pool_0", "pool_1"}
        for client in clients:
            client.reset()
        server.stop()


def test_a_callback_on_an_executor_waits_except_when_it_greets(serve: Serve) -> None:
    errors: queue.SimpleQueue[RuntimeError] = queue.SimpleQueue()

    class Waiting(WebSocketMessageHandler):
        def on_connection_established(self, connection: WebSocketConnection) -> None:
            connection.send_text("hello")  # goes out when this returns
            with pytest.raises(RuntimeError) as raised:
                connection.wait_drained(PATIENCE)
            errors.put(raised.value)

        def on_text_message(self, message: WebSocketTextMessage) -> None:
            connection = message.connection
            for number in range(int(message.payload)):
                if connection.send_text(numbered(number)) is SendResult.BACKPRESSURE:
                    assert connection.wait_drained(PATIENCE)
            connection.send_text("last")

    with ThreadPoolExecutor(2) as pool:
        server = serve_on(pool, Waiting(), serve)
        with RawWebSocket.open(server.address) as client:
            assert client.read_text() == "hello"
            assert "greets" in str(errors.get(timeout=PATIENCE))
            client.send_text("300")
            assert read_numbers(client) == list(range(300))
        server.stop()
