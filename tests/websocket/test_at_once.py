"""Handshakes that take no code of the program's need no worker; the others do."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.http.raw_http import get
from tests.websocket.raw_websocket import RawWebSocket, request_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequest, HttpRequestContext, HttpResponse
    from handy_ws.http.handlers import Handler

MOMENT = 0.1


class Echo(WebSocketMessageHandler):
    def on_text_message(self, message: object) -> None:
        message.connection.send_text(message.payload)  # type: ignore[attr-defined]


class Busy:
    """A server whose only worker is busy from the first request for /busy on, until `let_go`."""

    def __init__(self, handler: Handler, websocket: WebSocketConfig) -> None:
        self._begun, self._may_end = threading.Event(), threading.Event()
        paths = PathHandler(handler).add("/busy", self._wait).add("/chat", handler)
        self.server = HttpServer(paths, ServerConfig(port=0, workers=1, websocket=websocket))

    def _wait(self, _: HttpRequestContext) -> None:
        self._begun.set()
        assert self._may_end.wait(20)

    def be_busy(self) -> RawWebSocket:
        client = RawWebSocket(self.server.address)
        client.send(get("/busy"))
        assert self._begun.wait(20)
        return client

    def let_go(self) -> None:
        self._may_end.set()


@contextmanager
def busy(handler: Handler, websocket: WebSocketConfig | None = None) -> Iterator[Busy]:
    it = Busy(handler, websocket or WebSocketConfig())
    with it.server, ExitStack() as stack:
        stack.callback(it.let_go)
        stack.enter_context(it.be_busy())
        yield it


def echoes(client: RawWebSocket) -> bool:
    client.send_text("hello")
    return client.read_text() == "hello"


def is_answered(client: RawWebSocket) -> bool:
    client.socket.settimeout(MOMENT)
    try:
        return client.read_response_head()[0] == 101
    except TimeoutError:
        return False
    finally:
        client.socket.settimeout(20)


def test_a_handshake_waits_for_no_worker() -> None:
    with busy(WebSocketHandler(Echo())) as it, RawWebSocket(it.server.address) as client:
        client.upgrade("/chat")
        assert echoes(client)


def test_many_are_done_together() -> None:
    with busy(WebSocketHandler(Echo())) as it, ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket(it.server.address)) for _ in range(100)]
        for client in clients:
            client.send(request_head("/chat"))
        for client in clients:
            assert client.read_response_head()[0] == 101
            assert echoes(client)


def test_a_refusal_waits_for_none_either() -> None:
    handler = WebSocketHandler(Echo())
    with busy(handler, WebSocketConfig(max_connections=1)) as it, ExitStack() as stack:
        first, second, third = (
            stack.enter_context(RawWebSocket(it.server.address)) for _ in range(3)
        )
        first.upgrade("/chat")
        second.send(request_head("/chat"))
        assert second.read_response_head()[0] == 503
        third.send(request_head("/chat", Origin="https://elsewhere.example"))
        assert third.read_response_head()[0] == 403
        stats = it.server.websocket_manager.stats()
        assert stats.connections_refused["max_connections"] == 1
        assert stats.connections_refused["origin"] == 1


def accept(_: HttpRequest) -> HttpResponse | None:
    return None


class Checking(WebSocketHandler):
    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        return super().handle(context)


@pytest.mark.parametrize(
    ("handler", "path"),
    [
        (WebSocketHandler(Echo(), authorize=accept), "/chat"),
        (Checking(Echo()), "/chat"),
        (Checking(Echo()).handle, "/chat"),
        # Rules may have code of the program's: converters.
        (WebSocketHandler(Echo()), "/elsewhere"),
    ],
)
def test_what_may_block_waits_for_a_worker(handler: Handler, path: str) -> None:
    with busy(handler) as it, RawWebSocket(it.server.address) as client:
        client.send(request_head(path))
        assert not is_answered(client)
        it.let_go()
        assert client.read_response_head()[0] == 101
        assert echoes(client)


def test_what_is_logged_waits_for_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    # Handlers of log records may block.
    with (
        caplog.at_level(logging.INFO, "handy_ws.access"),
        busy(WebSocketHandler(Echo())) as it,
        RawWebSocket(it.server.address) as client,
    ):
        client.send(request_head("/chat"))
        assert not is_answered(client)
        it.let_go()
        assert client.read_response_head()[0] == 101
