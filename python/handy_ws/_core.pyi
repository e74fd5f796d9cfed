"""The compiled part of handy_ws, written in Rust. Its names are public in `handy_ws`."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal, TypeAlias, final

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
    "NotTls",
    "PanicException",
    "Permit",
    "TlsContext",
    "TlsHandshakes",
    "TlsStream",
    "WebSocketBinaryMessage",
    "WebSocketCloseMessage",
    "WebSocketConnection",
    "WebSocketManager",
    "WebSocketTextMessage",
    "after_fork_in_child",
]

_StrPath: TypeAlias = str | PathLike[str]

class PanicException(BaseException):
    """What ``on_error`` gets when Rust code under a callback has panicked."""

class NotTls(OSError):  # noqa: N818 - an event of the network, not an error
    """What came first was no TLS record: a client that speaks plain HTTP, most likely."""

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
class TlsContext:
    """The certificate of a server, and whom it trusts: what its TLS sessions are made of."""

    def __new__(
        cls,
        certificate: _StrPath,
        private_key: _StrPath,
        client_ca: _StrPath | None = None,
        minimum_version: str = "1.2",
    ) -> TlsContext: ...
    def reload(self) -> None: ...

@final
class TlsHandshakes:
    """The handshakes of many streams, a step at a time."""

    def __new__(cls) -> TlsHandshakes: ...
    def fileno(self) -> int: ...
    def add(self, stream: TlsStream) -> None: ...
    def forget(self, fd: int) -> None: ...
    def turn(self) -> list[int]: ...

@final
class TlsStream:
    """The server's end of a TLS session on a nonblocking socket, which belongs to it.

    It has those methods of ``socket.socket`` that serving HTTP takes, with one difference: what
    `send` has taken may wait in `unsent`, for `flush`. One thread at a time uses it.
    """

    def __new__(cls, context: TlsContext, fd: int) -> TlsStream: ...
    def recv(self, size: int) -> bytes: ...
    def send(self, data: Buffer, flags: int = 0) -> int: ...
    @property
    def unsent(self) -> int: ...
    @property
    def has_ended(self) -> bool: ...
    def flush(self) -> int: ...
    def shutdown(self, how: int) -> None: ...
    def close(self) -> None: ...
    def detach(self) -> int: ...
    def fileno(self) -> int: ...
    @property
    def client_certificate(self) -> bytes | None: ...
    @property
    def version(self) -> str | None: ...
    @property
    def cipher(self) -> str | None: ...
    @property
    def server_name(self) -> str | None: ...
    @property
    def resumed(self) -> bool: ...

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
    def adopting_many(self, work: Callable[[], None]) -> None: ...
    def adopt(
        self,
        socket: int | TlsStream,
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
