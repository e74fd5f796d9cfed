"""Servers for the tests of the WebSocket side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import TlsConfig
    from handy_ws.http.handlers import Handler


class Serve(Protocol):
    """Starts a server on a free port; it is stopped when the test ends."""

    def __call__(
        self,
        handler: WebSocketMessageHandler | Handler,
        websocket: WebSocketConfig = ...,
        tls: TlsConfig | None = ...,
    ) -> HttpServer: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[HttpServer] = []

    def start(
        handler: WebSocketMessageHandler | Handler,
        websocket: WebSocketConfig = WebSocketConfig(),  # noqa: B008 - it is frozen
        tls: TlsConfig | None = None,
    ) -> HttpServer:
        http_handler = (
            WebSocketHandler(handler) if isinstance(handler, WebSocketMessageHandler) else handler
        )
        server = HttpServer(http_handler, ServerConfig(port=0, websocket=websocket, tls=tls))
        server.start_in_thread()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
