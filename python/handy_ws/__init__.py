"""WebSockets for Python programs written with ordinary threads.

Subclass `WebSocketMessageHandler`, give it to a `WebSocketHandler`, give that to an `HttpServer`,
and send to one client or to all from any thread. A Rust core runs every socket in one loop.
"""

from __future__ import annotations

from handy_ws._core import (
    WebSocketBinaryMessage,
    WebSocketCloseMessage,
    WebSocketConnection,
    WebSocketTextMessage,
)
from handy_ws.config import CompressionConfig, ServerConfig, WebSocketConfig
from handy_ws.errors import ConnectionClosed, WebSocketError
from handy_ws.http.context import HttpRequestContext
from handy_ws.http.files import FileHandler
from handy_ws.http.handlers import HttpRequestHandler, PathHandler
from handy_ws.http.request import HttpRequest
from handy_ws.http.response import HttpResponse
from handy_ws.http.server import HttpServer
from handy_ws.http.tls import TlsConfig
from handy_ws.http.wsgi import WsgiHandler
from handy_ws.websocket.enums import CloseCause, CloseCode, SendResult
from handy_ws.websocket.handler import WebSocketHandler
from handy_ws.websocket.manager import WebSocketManager
from handy_ws.websocket.message_handler import WebSocketMessageHandler
from handy_ws.websocket.stats import ManagerStats

__all__ = [
    "CloseCause",
    "CloseCode",
    "CompressionConfig",
    "ConnectionClosed",
    "FileHandler",
    "HttpRequest",
    "HttpRequestContext",
    "HttpRequestHandler",
    "HttpResponse",
    "HttpServer",
    "ManagerStats",
    "PathHandler",
    "SendResult",
    "ServerConfig",
    "TlsConfig",
    "WebSocketBinaryMessage",
    "WebSocketCloseMessage",
    "WebSocketConfig",
    "WebSocketConnection",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketManager",
    "WebSocketMessageHandler",
    "WebSocketTextMessage",
    "WsgiHandler",
]
