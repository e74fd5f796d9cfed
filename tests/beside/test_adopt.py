"""`WebSocketManager.adopt`, `upgrade`, `start` and `stop`, without another server."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
)

from tests.http.conftest import poll, server_threads
from tests.websocket.raw_websocket import KEY, TEXT, RawWebSocket, frame, request_head
from tests.websocket.recorder import Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import WebSocketTextMessage

HEAD = request_head("/chat?q=1")


class Pair:
    """A client, and the server's end of its connection."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = RawWebSocket(listener.getsockname())
            self.sock, self.address = listener.accept()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with made.client, made.sock:
        yield made


@pytest.fixture
def manager() -> Iterator[WebSocketManager]:
    made = WebSocketManager(WebSocketConfig(slow_callback_warning=None))
    yield made
    made.stop()
    assert server_threads() == set()


def works(client: RawWebSocket) -> None:
    status, _ = client.read_response_head()
    assert status == 101
    client.send_text("hello")
    assert client.read_text() == "hello"


def test_a_socket_is_adopted_with_its_head(manager: WebSocketManager, pair: Pair) -> None:
    recorder = Recorder()
    handler = WebSocketHandler(recorder)
    assert manager.adopt(pair.sock, handler, HEAD, received=frame(TEXT, b"early")) is None
    assert pair.sock.fileno() == -1
    connection = recorder.next("established")
    assert recorder.next("text") == "early"
    assert connection.remote_address == pair.address
    assert connection.request.path == "/chat"
    assert connection.request.args["q"] == "1"
    assert manager.connections == [connection]
    assert pair.client.read_response_head()[0] == 101
    manager.broadcast("to all")
    assert pair.client.read_text() == "to all"
    pair.client.send_close()
    pair.client.read_close()
    assert pair.client.read_end() == b""  # nobody else has the socket
    recorder.wait_for("closed")


def test_a_socket_is_adopted_with_an_environment(manager: WebSocketManager, pair: Pair) -> None:
    recorder = Recorder()
    given = environ(SCRIPT_NAME="/app", REMOTE_ADDR="192.0.2.1", REMOTE_USER="ada", other=object())
    assert manager.adopt(pair.sock, WebSocketHandler(recorder), given) is None
    connection = recorder.next("established")
    assert connection.remote_address == ("192.0.2.1", 1234)
    made = connection.request.environ
    texts = {key: value for key, value in given.items() if isinstance(value, str)}
    assert {key: made[key] for key in texts} == texts
    assert "other" not in made
    assert connection.request.root_path == "/app"
    assert connection.request.remote_user == "ada"


def test_the_address_can_be_given(manager: WebSocketManager, pair: Pair) -> None:
    recorder = Recorder()
    handler = WebSocketHandler(recorder)
    manager.adopt(pair.sock, handler, HEAD, remote_address=("192.0.2.7", 7))
    connection = recorder.next("established")
    assert connection.remote_address == ("192.0.2.7", 7)
    assert connection.request.remote_addr == "192.0.2.7"


def test_a_unix_socket_is_adopted(manager: WebSocketManager) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(20)
        assert manager.adopt(ours, WebSocketHandler(Recorder()), HEAD) is None
        assert theirs.recv(4096).startswith(b"HTTP/1.1 101 ")
        manager.broadcast("x")
        assert theirs.recv(4096) == b"\x81\x01x"


@pytest.mark.parametrize(
    ("head", "status", "check"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, "handshake"),
        (request_head(Origin="http://elsewhere.example"), 403, "origin"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 400, "handshake"),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/3.0"), 505, "handshake"),
        (HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"), 400, "handshake"),
        (HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "handshake"),
    ],
)
def test_who_is_refused_keeps_the_socket(
    manager: WebSocketManager, pair: Pair, head: bytes, status: int, check: str
) -> None:
    refusal = manager.adopt(pair.sock, WebSocketHandler(Recorder()), head)
    assert refusal is not None
    assert refusal.status_code == status
    assert manager.stats().connections_refused[check] == 1
    assert server_threads() == set()  # it takes a connection to start the manager
    pair.sock.sendall(b"still ours")
    pair.sock.close()
    assert pair.client.read_end() == b"still ours"


def test_limits_hold_and_places_are_given_back() -> None:
    small = WebSocketManager(WebSocketConfig(max_connections=1))
    handler = WebSocketHandler(Echo())
    first, second = Pair(), Pair()
    assert small.adopt(first.sock, handler, HEAD) is None
    refusal = small.adopt(second.sock, handler, HEAD)
    assert refusal is not None
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "5")
    first.client.reset()

    def place_is_free() -> bool:
        """Take a place, if there is one, for what fails then, and must give it back."""
        with contextlib.suppress(RuntimeError):
            return small.upgrade(environ(), handler).status_code == 101
        return True

    poll(place_is_free)
    assert small.adopt(second.sock, handler, HEAD) is None
    works(second.client)
    second.client.reset()
    small.stop()


@pytest.mark.parametrize("request_", [None, "text", 5])
def test_wrong_arguments(manager: WebSocketManager, pair: Pair, request_: Any) -> None:
    handler: Any = WebSocketHandler(Echo())
    with pytest.raises(TypeError, match="request must be the bytes of a head"):
        manager.adopt(pair.sock, handler, request_)
    with pytest.raises(TypeError, match="handler must be a WebSocketHandler"):
        manager.adopt(pair.sock, Echo(), HEAD)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="handler must be a WebSocketHandler"):
        manager.upgrade(environ(), Echo())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a socket is needed, not int"):
        manager.adopt(pair.sock.fileno(), handler, HEAD)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config must be a WebSocketConfig"):
        WebSocketManager(ServerConfig())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="not connected"), socket.socket() as unconnected:
        manager.adopt(unconnected, handler, HEAD)
    assert pair.sock.fileno() != -1
    assert server_threads() == set()


# The environments of other servers


def environ(**more: Any) -> dict[str, Any]:
    """Return what a server would make of `HEAD`."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/chat",
        "QUERY_STRING": "q=1",
        "RAW_URI": "/chat?q=1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "1234",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    } | more


def tls_socket() -> ssl.SSLSocket:
    ours, theirs = socket.socketpair()
    theirs.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)


class Greenlet(socket.socket):
    """Like those of a server that has replaced Python's threads."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tls_socket, "encrypted by Python's ssl module"),
        (Greenlet, "the socket is one of tests.beside.test_adopt"),
        (socket.socket, "what gunicorn has read behind the request head cannot be got at"),
    ],
)
def test_sockets_that_cannot_be_taken(
    manager: WebSocketManager, make: Callable[[], socket.socket], message: str
) -> None:
    handler = WebSocketHandler(Echo())
    with make() as sock:
        number = sock.fileno()
        with pytest.raises(RuntimeError, match=message):
            manager.upgrade(environ(**{"gunicorn.socket": sock}), handler)
        assert sock.fileno() == number  # and it is what it was
        assert sock.family in {socket.AF_INET, socket.AF_UNIX}
    assert server_threads() == set()


def test_servers_that_offer_nothing(manager: WebSocketManager) -> None:
    handler = WebSocketHandler(Echo())
    with pytest.raises(RuntimeError, match=r"does not offer the socket.*gunicorn.*werkzeug"):
        manager.upgrade(environ(), handler)
    with pytest.raises(RuntimeError, match="give the path to the WebSocketHandler itself"):
        manager.upgrade(environ(**{"handy_ws.server": object()}), handler)
    # Who does not even ask for a WebSocket is told that first.
    assert manager.upgrade(environ(HTTP_UPGRADE="h2c"), handler).status_code == 426


# Starting and stopping


def test_the_thread_starts_with_the_first_socket_or_before(pair: Pair) -> None:
    manager = WebSocketManager()
    assert repr(manager) == "<WebSocketManager stopped, 0 connections>"
    assert manager.broadcast("nobody").name == "QUEUED"
    manager.stop()  # of what does not run
    with manager:
        manager.start()  # it has, already
        assert repr(manager) == "<WebSocketManager running, 0 connections>"
        manager.adopt(pair.sock, WebSocketHandler(Echo()), HEAD)
        works(pair.client)
        stopping = threading.Thread(target=manager.stop)
        stopping.start()
        assert pair.client.read_close()[0] == 1001
        pair.client.send_close(1001)
        assert pair.client.read_end() == b""
        stopping.join()
        manager.stop()  # once more
    assert server_threads() == set()


def test_a_stopped_manager_refuses_until_it_is_started_again(pair: Pair) -> None:
    manager, handler = WebSocketManager(), WebSocketHandler(Echo())
    manager.stop()
    refusal = manager.adopt(pair.sock, handler, HEAD)
    assert refusal is not None
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "5")
    for _ in range(2):
        with manager:
            other = Pair()
            assert manager.adopt(other.sock, handler, HEAD) is None
            works(other.client)
            other.client.reset()
    assert server_threads() == set()


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), 1e7])
def test_timeouts_that_are_none(manager: WebSocketManager, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be from 0 to"):
        manager.stop(timeout)


def test_a_callback_may_stop_the_manager(pair: Pair) -> None:
    manager = WebSocketManager()

    class Stopping(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:  # noqa: ARG002
            manager.stop()

    manager.adopt(pair.sock, WebSocketHandler(Stopping()), HEAD)
    pair.client.read_response_head()
    pair.client.send_text("stop")
    assert pair.client.read_close()[0] == 1001
    pair.client.send_close(1001)
    poll(lambda: not server_threads())
    manager.stop()


def test_a_callback_that_does_not_return_is_left_behind(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:  # noqa: ARG002
            entered.set()
            goes_on.wait(20)

    entered, goes_on = threading.Event(), threading.Event()
    manager = WebSocketManager(WebSocketConfig(slow_callback_warning=None))
    manager.adopt(pair.sock, WebSocketHandler(Stuck()), HEAD)
    pair.client.read_response_head()
    pair.client.send_text("wait")
    assert entered.wait(20)
    manager.stop(0.0)
    assert [record.message for record in caplog.records] == [
        "the manager stopped without waiting for: handy-ws-manager"
    ]
    with manager:
        other = Pair()
        manager.adopt(other.sock, WebSocketHandler(Echo()), HEAD)
        works(other.client)
        goes_on.set()
        other.client.send_close()
        other.client.read_close()
    poll(lambda: not server_threads())


# The manager of a server


def test_the_manager_of_a_server_adopts_while_the_server_runs(pair: Pair) -> None:
    handler = WebSocketHandler(Echo())
    server = HttpServer(handler, ServerConfig(port=0))
    manager = server.websocket_manager
    with pytest.raises(RuntimeError, match="starts and stops with its server"):
        manager.start()
    with pytest.raises(RuntimeError, match="starts and stops with its server"):
        manager.stop()
    with pytest.raises(RuntimeError, match="the server of this manager does not run"):
        manager.adopt(pair.sock, handler, HEAD)
    with server, RawWebSocket.open(server.address) as own:
        assert manager.adopt(pair.sock, handler, HEAD) is None
        works(pair.client)
        manager.broadcast("all")
        assert own.read_text() == pair.client.read_text() == "all"
        own.reset()
        pair.client.reset()


def test_adoptions_and_stops_at_once(manager: WebSocketManager) -> None:
    handler = WebSocketHandler(Echo())
    refused = []

    def adopt() -> None:
        for _ in range(20):
            pair = Pair()
            refusal = manager.adopt(pair.sock, handler, HEAD)
            if refusal is None:
                pair.client.read_response_head()
            else:
                refused.append(refusal.status_code)
            with contextlib.suppress(OSError):
                pair.client.reset()
            pair.sock.close()

    threads = [threading.Thread(target=adopt) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        manager.stop()
        manager.start()
    assert set(refused) <= {503}
    assert manager.stats().connections_total == 80 - len(refused)
