"""Request heads: finding the end of one, and reading it strictly.

A head is the request line and the header fields, up to the first empty line (RFC 9112 section 2).
The acceptor needs to know where it ends, and `find_head_end` tells it in linear time however the
bytes were cut up. A worker then reads the whole head, once, with `parse_head`, which is strict. The
rules stand in ``rust/core/src/http``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handy_ws._core import RequestHead, find_head_end, parse_head
from handy_ws.http.request import HttpRequest, make_environ

if TYPE_CHECKING:
    from io import BufferedIOBase

    from handy_ws.http.tls import TlsSession

__all__ = ["BadRequest", "RequestHead", "RequestSource", "find_head_end", "parse_head"]


class BadRequest(Exception):  # noqa: N818 - the name of the thing, as in RFC 9110 section 15.5.1
    """The request cannot be served; the connection ends after the answer.

    Attributes:
        status: the status code of the answer, 4xx or 5xx.
        reason: one readable line for its body.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Make one that is answered with `status` and `reason`."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestSource:
    """All that is needed to make an `HttpRequest` later, and little more.

    One lives as long as each WebSocket connection, so it keeps the head as it came and parses it
    anew for the few programs that ask.

    Attributes:
        head_bytes: the request head, up to and with the empty line.
        remote_address: host and port of the client.
        local_address: host and port that the server is bound to.
        scheme: ``"http"``, or ``"https"`` if the client speaks TLS.
        tls: what is known of the TLS session, None without one.
        host: what a proxy says that the client took for the Host; None if there is nothing to say.
        path_params: what the rule of a `PathHandler` took from the path, or None.
        user: what `authorize` has set as `HttpRequest.user`.
    """

    __slots__ = (
        "head_bytes",
        "host",
        "local_address",
        "path_params",
        "remote_address",
        "scheme",
        "tls",
        "user",
    )

    def __init__(
        self,
        head_bytes: bytes,
        remote_address: tuple[str, int],
        local_address: tuple[str, int],
        tls: TlsSession | None = None,
    ) -> None:
        """Keep what a request is made of."""
        self.head_bytes = head_bytes
        self.remote_address = remote_address
        self.local_address = local_address
        self.scheme = "http" if tls is None else "https"
        self.tls = tls
        self.host: str | None = None
        self.path_params: dict[str, Any] | None = None
        self.user: Any = None

    def head(self) -> RequestHead:
        """Parse the head anew."""
        head = parse_head(self.head_bytes)
        if self.host is not None:
            head = head.with_host(self.host)
        return head

    def environ(
        self, head: RequestHead | None = None, body: BufferedIOBase | None = None
    ) -> dict[str, Any]:
        """Make a WSGI environ (PEP 3333), of the same arguments as `request`."""
        return make_environ(self, head or self.head(), body)

    def request(
        self, head: RequestHead | None = None, body: BufferedIOBase | None = None
    ) -> HttpRequest:
        """Make the request.

        Args:
            head: the head, if it is at hand; parsed anew otherwise.
            body: a file at the start of the request body; empty by default.
        """
        request = HttpRequest(self.environ(head, body), self.path_params)
        request.user = self.user
        return request
