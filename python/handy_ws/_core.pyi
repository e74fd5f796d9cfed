"""The compiled part of handy_ws, written in Rust. Its names are public in `handy_ws`."""

from collections.abc import Callable
from typing import Any, Literal, final

from typing_extensions import Buffer

from handy_ws.config import CompressionConfig, WebSocketConfig
from handy_ws.http.head import RequestSource
from handy_ws.http.request import HttpRequest
from handy_ws.websocket.enums import CloseCause, SendResult
from handy_ws.websocket.message_handler import WebSocketMessageHandler
from handy_ws.websocket.stats import ManagerStats

__all__ = [
    "Agreement",
    "Callbacks",
    "Negotiator",
    "PanicException",
    "Permit",
    "WebSocketBinaryMessage",
    "WebSocketCloseMessage",
    "WebSocketConnection",
    "WebSocketManager",
    "WebSocketTextMessage",
    "after_fork_in_child",
]

class PanicException(BaseException):
    """What ``on_error`` gets when Rust code under a callback has panicked."""

def after_fork_in_child() -> list[int]: ...

@final
class Callbacks:
    """The bound methods of a message handler, without those that it does not override."""

    def __new__(
        cls,
        handler: WebSocketMessageHandler,
        submit: Callable[[Callable[[], None]], object] | None = None,
    ) -> Callbacks: ...

@final
class Negotiator:
    """Answers what clients offer in ``Sec-WebSocket-Extensions`` (RFC 6455 section 9.1)."""

    def __new__(cls, compression: CompressionConfig | None) -> Negotiator: ...
    def negotiate(self, header: str) -> Agreement | None: ...

@final
class Agreement:
    """What was agreed on with one client."""

    @property
    def extensions(self) -> str: ...

@final
class Permit:
    """A place among the connections, which belongs to a handshake until it is adopted."""

    def release(self) -> None: ...

@final
class WebSocketTextMessage:
    """A text message (RFC 6455 section 5.6; handy-httpd's ``WebSocketTextMessage``)."""

    @property
    def connection(self) -> WebSocketConnection: ...
    @property
    def payload(self) -> str: ...

@final
class WebSocketBinaryMessage:
    """A binary message (RFC 6455 section 5.6; handy-httpd's ``WebSocketBinaryMessage``)."""

    @property
    def connection(self) -> WebSocketConnection: ...
    @property
    def payload(self) -> bytes: ...

@final
class WebSocketCloseMessage:
    """A CLOSE frame of the peer (RFC 6455 section 5.5.1)."""

    @property
    def connection(self) -> WebSocketConnection: ...
    @property
    def code(self) -> int: ...
    @property
    def reason(self) -> str: ...

@final
class WebSocketConnection:
    """One WebSocket connection (handy-httpd's ``WebSocketConnection``)."""

    @property
    def id(self) -> int: ...
    @property
    def request(self) -> HttpRequest: ...
    @property
    def remote_address(self) -> tuple[str, int]: ...
    @property
    def subprotocol(self) -> str | None: ...
    @property
    def extensions(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def buffered_bytes(self) -> int: ...
    @property
    def latency(self) -> float | None: ...
    @property
    def user_data(self) -> Any: ...
    @user_data.setter
    def user_data(self, object: Any) -> None: ...  # noqa: A002 - as PyO3 names it
    @property
    def close_code(self) -> int | None: ...
    @property
    def close_reason(self) -> str | None: ...
    @property
    def close_cause(self) -> CloseCause | None: ...
    def send_text(self, payload: str, *, compress: bool = True) -> SendResult: ...
    def send_binary(self, payload: Buffer, *, compress: bool = True) -> SendResult: ...
    def ping(self, payload: Buffer = b"") -> SendResult: ...
    def wait_drained(self, timeout: float | None = None) -> bool: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...

@final
class WebSocketManager:
    """All the WebSocket connections of a server (handy-httpd's ``WebSocketManager``)."""

    def __new__(cls, config: WebSocketConfig) -> WebSocketManager: ...
    def open(self) -> None: ...
    def run(self) -> None: ...
    def shut_down(self, timeout: float) -> None: ...
    def calls_back_here(self) -> bool: ...
    def finish(self) -> None: ...
    def leave_behind(self) -> None: ...
    def admit(
        self, host: str
    ) -> (
        Permit | Literal["max_connections", "max_connections_per_address", "max_pending_handshakes"]
    ): ...
    def count_refused(self, check: Literal["handshake", "origin", "authorize"]) -> None: ...
    def adopt(
        self,
        fd: int,
        callbacks: Callbacks,
        source: RequestSource,
        subprotocol: str | None,
        agreement: Agreement | None,
        permit: Permit | None,
        response: bytes,
        received: bytes,
    ) -> None: ...
    def broadcast(
        self,
        message: str | Buffer,
        *,
        exclude: WebSocketConnection | None = None,
        compress: bool = True,
    ) -> SendResult: ...
    @property
    def negotiator(self) -> Negotiator: ...
    @property
    def connections(self) -> list[WebSocketConnection]: ...
    def stats(self) -> ManagerStats: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
