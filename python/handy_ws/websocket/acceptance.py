"""A handshake that is accepted: what is answered, and what the manager needs.

`WebSocketHandler` checks handshakes that come to our own server and those that another server has
read. What it looks at is an `Opening`, and what comes of a good one is an `Acceptance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from handy_ws._core import TlsStream

if TYPE_CHECKING:
    import socket

    from handy_ws._core import Accepted, Callbacks, Permit
    from handy_ws._core import WebSocketManager as Core
    from handy_ws.http.head import RequestHead, RequestSource
    from handy_ws.http.request import HttpRequest

__all__ = ["Acceptance", "Opening"]


class Opening(Protocol):
    """An opening handshake: an `HttpRequestContext`, or what another server knows of a request."""

    @property
    def head(self) -> RequestHead:
        """The request head."""

    @property
    def source(self) -> RequestSource:
        """What makes `WebSocketConnection.request`."""

    @property
    def request(self) -> HttpRequest:
        """The request."""


class Acceptance:
    """An opening handshake that is accepted.

    Attributes:
        headers: the header fields of the 101 response.
        permit: its place among the connections, until it is taken over.
    """

    __slots__ = ("_accepted", "_callbacks", "_core", "_source", "headers", "permit")

    def __init__(
        self,
        accepted: Accepted,
        permit: Permit,
        callbacks: Callbacks,
        source: RequestSource,
        core: Core,
    ) -> None:
        self.headers = accepted.fields
        self.permit = permit
        self._accepted = accepted
        self._callbacks = callbacks
        self._source = source
        self._core = core

    def take_over(self, sock: socket.socket | TlsStream, response: bytes, received: bytes) -> None:
        """Give the manager a socket, the 101 response that it has to send, and what has come.

        Raises:
            RuntimeError: the manager does not run. The socket is closed.
        """
        self._core.adopt(
            # Exactly one owner closes it. A TLS session moves with its socket.
            sock if isinstance(sock, TlsStream) else sock.detach(),
            self._callbacks,
            self._source,
            self._accepted,
            self.permit,
            response,
            received,
        )
