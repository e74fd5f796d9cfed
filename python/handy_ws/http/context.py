"""`HttpRequestContext`: what a handler gets to see of one request.

The ancestor is `HttpRequestContext` of handy-httpd. The request and the response are made when
they are first read, because a WebSocket handshake needs neither: it looks at `head` and calls
`upgrade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from handy_ws.http.response import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import BufferedIOBase

    from handy_ws.http.head import RequestHead, RequestSource
    from handy_ws.http.request import HttpRequest
    from handy_ws.http.server import HttpServer

__all__ = ["HttpRequestContext", "TakeOver"]

#: Receives a socket, or what stands for one with TLS; the 101 response that it has to send; and
#: what came after the request head.
TakeOver: TypeAlias = "Callable[[Any, bytes, bytes], None]"


class Upgrade(NamedTuple):
    """What `HttpRequestContext.upgrade` was called with."""

    headers: Sequence[tuple[str, str]]
    take_over: TakeOver
    on_cancel: Callable[[], None] | None


class HttpRequestContext:
    """One request, the response to it, and the server that both belong to.

    A context belongs to the worker thread that runs the handler, and only while it does.

    Attributes:
        server: the server that received the request.
        head: the parsed request head, for those who need no werkzeug request.
        source: what `request` is made of; it may be kept for longer than the context.
        begun: the response that `send_now` has been called with.
    """

    __slots__ = (
        "_body",
        "_request",
        "_response",
        "_send_now",
        "_upgrade",
        "begun",
        "head",
        "server",
        "source",
    )

    def __init__(
        self,
        server: HttpServer,
        head: RequestHead,
        source: RequestSource,
        body: BufferedIOBase | None,
        send_now: Callable[[HttpRequestContext, HttpResponse], None],
    ) -> None:
        """Make the context of a request."""
        self.server = server
        self.head = head
        self.source = source
        self._body = body
        self._request: HttpRequest | None = None
        self._response: HttpResponse | None = None
        self._upgrade: Upgrade | None = None
        self._send_now = send_now
        self.begun: HttpResponse | None = None

    @property
    def request(self) -> HttpRequest:
        """The request; made when it is first read. Its body is whole, or a stream."""
        if self._request is None:
            self._request = self.source.request(self.head, self._body)
        return self._request

    def close_uploads(self) -> None:
        """Close the files that came with the request; for the server, when the response is over."""
        if self._request is not None:
            self._request.close()

    def environ(self) -> dict[str, Any]:
        """Return a WSGI environ (PEP 3333) of the request, for the caller to keep and to change.

        It has the body that `request` has, too: what is read from one is not there in the other.
        """
        if self._request is None:
            return self.source.environ(self.head, self._body)
        return self._request.environ.copy()

    @property
    def response(self) -> HttpResponse:
        """The response: 200 and empty until the handler changes it or sets another one."""
        if self._response is None:
            self._response = HttpResponse()
        return self._response

    @response.setter
    def response(self, response: HttpResponse) -> None:
        self._response = response

    def send_now(self, response: HttpResponse) -> None:
        """Begin to send a response, or go on with it, while the handler still runs.

        The handler has to return the same one in the end. For `WsgiHandler`.

        Args:
            response: its iterator raises `NotYet` when there is no more to send at the moment.

        Raises:
            PeerGone: the client has left, or takes the response too slowly.
        """
        self.begun = response
        self._send_now(self, response)

    def upgrade(
        self,
        headers: Sequence[tuple[str, str]],
        take_over: TakeOver,
        on_cancel: Callable[[], None] | None = None,
    ) -> None:
        """Give the socket away when the handler has returned, to be spoken on in another protocol.

        A handler that afterwards returns an `HttpResponse`, or raises, cancels the upgrade.

        Args:
            headers: the header fields of the 101 response (RFC 9110 section 15.2.2).
            take_over: called on a worker thread as ``take_over(sock, response, received)``. It
                has to send `response`, the whole 101, first; `received` are bytes that came
                after the head. The socket is nonblocking and in no selector, and belongs to the
                callee from then on. If it raises, the socket is closed. With TLS it is an object
                with the methods ``recv``, ``send``, ``shutdown``, ``close`` and ``fileno`` of one,
                and ``flush()`` for what ``send`` took and the system did not (``unsent``).
            on_cancel: called if `take_over` is not called in the end, or has raised.

        Raises:
            ValueError: the client speaks HTTP/1.0, which knows no 1xx (RFC 9110 section 15.2).
        """
        if self.head.version == "1.0":
            raise ValueError("a connection that speaks HTTP/1.0 cannot be upgraded")
        self.cancel_upgrade()
        self._upgrade = Upgrade(headers, take_over, on_cancel)

    def cancel_upgrade(self) -> None:
        """Forget the upgrade that the handler has asked for, if any."""
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is not None and upgrade.on_cancel is not None:
            upgrade.on_cancel()

    @property
    def chosen_upgrade(self) -> Upgrade | None:
        """The upgrade that the handler has asked for, if any; for the server."""
        return self._upgrade
