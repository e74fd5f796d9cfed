"""Handshakes behind the first at a path are let in by the core: what holds for others holds for
them."""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CompressionConfig,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)
from handy_ws.websocket import handler as handlers

from tests.http.conftest import poll
from tests.http.raw_http import get
from tests.websocket.raw_websocket import TEXT, RawWebSocket, frame, request_head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Authority

PATIENCE = 20


class Seen(WebSocketMessageHandler):
    """Keeps its connections, and sends back what it gets."""

    def __init__(self) -> None:
        self.connections: list[WebSocketConnection] = []
        self.closed = threading.Semaphore(0)
        self.threads: set[str] = set()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        self.connections.append(connection)
        self.threads.add(threading.current_thread().name)
        connection.send_text("welcome")

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:  # noqa: ARG002
        self.closed.release()


class Checks:
    """How many handshakes Python has checked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        check = handlers.WebSocketHandler.check

        def counted(handler: Any, *arguments: Any) -> Any:
            self.count += 1
            return check(handler, *arguments)

        monkeypatch.setattr(handlers.WebSocketHandler, "check", counted)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


@contextmanager
def running(
    handler: Any, websocket: WebSocketConfig | None = None, **settings: Any
) -> Iterator[HttpServer]:
    websocket = websocket or WebSocketConfig()
    settings = settings if "unix_socket" in settings else {"port": 0, **settings}
    with HttpServer(handler, ServerConfig(websocket=websocket, **settings)) as server:
        yield server


def welcome(client: RawWebSocket, head: bytes = b"", more: bytes = b"") -> dict[str, str]:
    """Do the handshake, and return the fields of the answer."""
    client.send((head or request_head("/chat")) + more)
    status, headers = client.read_response_head()
    assert status == 101
    assert client.read_text() == "welcome"
    return headers


def pass_first(server: HttpServer, path: str = "/chat", **options: Any) -> None:
    """Make the handshake by which the gate is found."""
    with RawWebSocket(server.address, **options) as client:
        welcome(client, request_head(path))


def test_the_first_is_checked_by_python_and_those_behind_it_are_not(checks: Checks) -> None:
    seen = Seen()
    with running(PathHandler().add("/chat", WebSocketHandler(seen))) as server:
        for _ in range(5):
            with RawWebSocket(server.address) as client:
                welcome(client)
                client.send_text("hello")
                assert client.read_text() == "hello"
        assert checks.count == 1
        assert server.websocket_manager.stats().connections_total == 5


def test_their_requests_are_known(checks: Checks) -> None:
    seen = Seen()
    terms = WebSocketHandler(seen, subprotocols=["chat"], compression=CompressionConfig())
    with running(PathHandler().add("/chat", terms)) as server:
        pass_first(server)
        with RawWebSocket(server.address) as client:
            head = request_head(
                "/chat?room=caf%C3%A9",
                Sec_WebSocket_Protocol="other, chat",
                Sec_WebSocket_Extensions="permessage-deflate",
                Cookie="a=b",
                X_Name="caf\u00e9",
            )
            client.send(head)
            status, headers = client.read_response_head()
            assert (status, headers["sec-websocket-protocol"]) == (101, "chat")
            assert headers["sec-websocket-extensions"].startswith("permessage-deflate")
            poll(lambda: len(seen.connections) == 2)
            connection = seen.connections[1]
            assert connection.remote_address == client.socket.getsockname()
            assert connection.subprotocol == "chat"
            assert connection.extensions.startswith("permessage-deflate")
            request = connection.request
            assert request is connection.request
            assert (request.method, request.path) == ("GET", "/chat")
            assert request.args["room"] == "caf\u00e9"
            assert request.cookies["a"] == "b"
            assert request.headers["X-Name"] == "caf\u00e9"
            assert request.remote_addr == "127.0.0.1"
            assert request.environ["REMOTE_PORT"] == str(client.socket.getsockname()[1])
            assert request.environ["SERVER_PORT"] == str(server.address[1])
            assert (request.scheme, request.user, request.path_params) == ("http", None, {})
        assert checks.count == 1


def test_their_sessions_are_known(checks: Checks, authority: Authority) -> None:
    seen = Seen()
    tls = authority.server.config(client_ca=authority.file)
    context = authority.client("1.3", authority.issue("client.example"))
    with running(PathHandler().add("/chat", WebSocketHandler(seen)), tls=tls) as server:
        pass_first(server, context=context)
        with RawWebSocket(server.address, context=context) as client:
            welcome(client)
        first, second = (connection.request for connection in seen.connections)
        assert second.scheme == "https"
        assert second.environ["SSL_PROTOCOL"] == "TLSv1.3"
        assert second.client_certificate == first.client_certificate is not None
        for name in ("SSL_CIPHER", "SSL_CLIENT_CERT"):
            assert second.environ[name] == first.environ[name]
        assert checks.count == 1


def test_what_comes_with_the_head_and_in_pieces_is_read(checks: Checks) -> None:
    with running(WebSocketHandler(Seen())) as server:
        pass_first(server)
        with RawWebSocket(server.address) as client:
            welcome(client, more=frame(TEXT, b"early"))
            assert client.read_text() == "early"
        with RawWebSocket(server.address) as client:
            for piece in (b"\r\n", request_head("/chat")[:30]):
                client.send(piece)
            client.socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(PATIENCE)
            welcome(client, request_head("/chat")[30:])
        assert checks.count == 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request_head("/chat", Origin="http://elsewhere.example"), 403),
        (request_head("/chat", Sec_WebSocket_Version="8"), 426),
        (request_head("/chat", Sec_WebSocket_Key="short"), 400),
        (get("/chat"), 426),
        (request_head("/chat", Host=""), 400),
        (request_head("/elsewhere"), 404),
    ],
    ids=["origin", "version", "key", "no upgrade", "no host", "path"],
)
def test_who_may_not_pass_is_told_why_and_counted_once(
    head: bytes, status: int, checks: Checks
) -> None:
    with running(PathHandler().add("/chat", WebSocketHandler(Seen()))) as server:
        pass_first(server)
        with RawWebSocket(server.address) as client:
            client.send(head)
            assert client.read_response_head()[0] == status
        refused = sum(server.websocket_manager.stats().connections_refused.values())
        assert refused == checks.count - 1


def test_limits_hold(checks: Checks) -> None:
    handler, limit = WebSocketHandler(Seen()), WebSocketConfig(max_connections=2)
    with running(handler, limit) as server:
        manager = server.websocket_manager
        clients = [RawWebSocket(server.address) for _ in range(4)]
        for client in clients[:2]:
            welcome(client)
        for client in clients[2:]:
            client.send(request_head("/chat"))
            assert client.read_response_head()[0] == 503
        assert manager.stats().connections_refused["max_connections"] == 2
        clients[0].socket.close()
        poll(lambda: len(manager) == 1)
        with RawWebSocket(server.address) as client:
            welcome(client)
        clients[1].socket.close()
        assert checks.count == 3


def test_a_crowd_waits_while_others_are_greeted(checks: Checks) -> None:
    with running(WebSocketHandler(Seen()), WebSocketConfig(max_pending_handshakes=4)) as server:
        pass_first(server)
        clients = [RawWebSocket(server.address) for _ in range(100)]
        for client in clients:
            client.send(request_head("/chat"))
        for client in clients:
            assert client.read_response_head()[0] == 101
            client.socket.close()
    assert checks.count == 1


class Hesitant(Seen):
    """Greets nobody but the first before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_greet = threading.Event()

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        assert not self.connections or self.may_greet.wait(PATIENCE)
        super().on_connection_established(connection)


def test_a_crowd_that_nobody_greets_is_refused(checks: Checks) -> None:
    hesitant = Hesitant()
    with running(WebSocketHandler(hesitant), WebSocketConfig(max_pending_handshakes=2)) as server:
        pass_first(server)
        clients = [RawWebSocket(server.address) for _ in range(5)]
        for client in clients:
            client.send(request_head("/chat"))
        # Which two are the first, nobody knows.
        waiting = {client.socket: client for client in clients}
        while len(waiting) > 2:
            answered, _, _ = select.select(waiting, [], [], PATIENCE)
            assert answered
            for sock in answered:
                status, headers = waiting.pop(sock).read_response_head()
                assert (status, headers["retry-after"]) == (503, "5")
        refused = server.websocket_manager.stats().connections_refused
        assert refused["max_pending_handshakes"] == 3
        hesitant.may_greet.set()
        for client in waiting.values():
            assert client.read_response_head()[0] == 101
            client.socket.close()
    assert checks.count == 4


def test_an_executor_has_its_callbacks(checks: Checks) -> None:
    seen = Seen()
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as executor:
        with running(WebSocketHandler(seen, executor=executor)) as server:
            for _ in range(3):
                pass_first(server)
        assert seen.threads == {"pool_0"}
    assert checks.count == 1


def test_a_unix_socket_has_no_address(checks: Checks, tmp_path: Path) -> None:
    seen = Seen()
    path = tmp_path / "socket"
    with running(WebSocketHandler(seen), unix_socket=path):
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(os.fspath(path))
                client.sendall(request_head("/chat"))
                assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        poll(lambda: len(seen.connections) == 2)
        assert [connection.remote_address for connection in seen.connections] == [("", 0)] * 2
        assert {connection.request.environ["SERVER_NAME"] for connection in seen.connections} == {
            "localhost"
        }
    assert checks.count == 1


def test_python_sees_them_while_somebody_reads_the_access_log(
    checks: Checks, caplog: pytest.LogCaptureFixture
) -> None:
    with running(WebSocketHandler(Seen())) as server:
        pass_first(server)
        with caplog.at_level(logging.INFO, "handy_ws.access"):
            pass_first(server)
            poll(lambda: "GET /chat HTTP/1.1" in caplog.text)
        pass_first(server)
    assert checks.count == 2


def test_each_of_several_gates_has_its_terms(checks: Checks) -> None:
    one, other = Seen(), Seen()
    paths = PathHandler().add("/chat", WebSocketHandler(one, subprotocols=["one"]))
    with running(paths) as server:
        pass_first(server)
        paths.add("/other", WebSocketHandler(other, allowed_origins="https://example.com"))
        pass_first(server, "/other")
        with RawWebSocket(server.address) as client:
            headers = welcome(client, request_head("/chat", Sec_WebSocket_Protocol="one"))
            assert headers["sec-websocket-protocol"] == "one"
        with RawWebSocket(server.address) as client:
            welcome(client, request_head("/other", Origin="https://example.com"))
        with RawWebSocket(server.address) as client:
            client.send(request_head("/chat", Origin="https://example.com"))
            assert client.read_response_head()[0] == 403
    assert (len(one.connections), len(other.connections)) == (2, 2)
    assert checks.count == 3


def test_a_handler_that_keeps_its_connections_can_be_collected() -> None:
    seen = Seen()
    with running(WebSocketHandler(seen)) as server:
        for _ in range(3):
            pass_first(server)
        for _ in range(3):
            assert seen.closed.acquire(timeout=PATIENCE)
    gone = weakref.ref(seen)
    del seen, server
    gc.collect()
    assert gone() is None
