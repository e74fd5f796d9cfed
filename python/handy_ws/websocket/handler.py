"""The upgrade from HTTP to the WebSocket protocol (RFC 6455 section 4.2).

`WebSocketHandler` bridges the two, as in handy-httpd. It is an ordinary HTTP request handler that
runs on an HTTP worker: it checks the opening handshake and gives the socket to the server's
manager, which answers 101 and owns it from then on. So whatever happens after a client has seen
the 101 happens after its connection is known: it misses no broadcast. What is not a valid
handshake gets a status and a readable reason:

* 405 for another method than GET, with ``Allow``;
* 426 for a request that asks for no upgrade or for another version, with what is expected;
* 403 for an origin that is not allowed;
* 400 for anything else that RFC 6455 forbids;
* 503 or 429, with ``Retry-After``, where a limit on connections is reached.

All but the last are checks of the core's, which need nothing but the head: they stand in
``rust/core/src/handshake``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

from handy_ws._core import Callbacks, Gate, Permit, Refusal, Terms
from handy_ws.config import CompressionConfig
from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.response import HttpResponse
from handy_ws.websocket.acceptance import Acceptance
from handy_ws.websocket.message_handler import WebSocketMessageHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from handy_ws._core import WebSocketManager as Core
    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead
    from handy_ws.http.request import HttpRequest
    from handy_ws.websocket.acceptance import Opening

__all__ = ["RETRY_AFTER", "WebSocketHandler"]

#: When to try again, in seconds (RFC 9110 section 10.2.3): nobody knows when a place becomes free,
#: but a refusal every few seconds costs the server nothing, and keeps no client waiting for long.
RETRY_AFTER: Final = 5
#: What is answered where a limit is reached. 429 is for what the client itself could change (RFC
#: 6585 section 4).
_LIMITS: Final = {
    "max_connections": (503, "there are too many connections"),
    "max_connections_per_address": (429, "there are too many connections from this address"),
    "max_pending_handshakes": (503, "there are too many handshakes in progress"),
}


class _Executor(Protocol):
    """What ``concurrent.futures.Executor`` has, as far as it is needed."""

    def submit(self, fn: Callable[[], None], /) -> object: ...


class WebSocketHandler(HttpRequestHandler):
    """Makes a WebSocket connection of every valid handshake (handy-httpd's ``WebSocketHandler``).

    Args:
        message_handler: gets the callbacks of all the connections that are made here.
        subprotocols: those that the server speaks (RFC 6455 section 1.9). Of the client's list,
            the first that is among them is agreed on; if there is none, the connection has none.
        allowed_origins: who may connect from a browser (RFC 6455 section 10.2). With
            ``"same-origin"`` the ``Origin`` header must name the host and port of the ``Host``
            header; ``"*"`` allows all; an iterable of origins such as ``"https://example.com"``
            allows those. A client that sends no ``Origin`` is no browser, and is allowed.
        compression: what to agree on with clients that offer compression (RFC 7692): a
            `CompressionConfig`, ``None`` for no compression, or ``"server"`` for what the server's
            ``WebSocketConfig.compression`` says.
        executor: where the callbacks run: a ``ThreadPoolExecutor``, or anything whose ``submit``
            takes a callable and calls it on a thread of this process. Those of one connection run
            one after the other, in the same order as otherwise; those of different connections run
            at the same time, so what they share needs locks. ``None`` is the manager's thread. The
            executor stays yours: shut it down when the server has stopped.
        authorize: called with the request of each valid handshake, on an HTTP worker. Returns
            ``None`` to accept it or the ``HttpResponse`` that refuses it. What it sets as the
            ``user`` of the request is ``connection.request.user`` from then on.

    Raises:
        TypeError: message_handler is no ``WebSocketMessageHandler``, compression no
            ``CompressionConfig``, or executor has no ``submit`` or runs other processes.
        ValueError: a subprotocol is no token, or an allowed origin is no origin.
    """

    def __init__(  # noqa: PLR0913 - they have names
        self,
        message_handler: WebSocketMessageHandler,
        *,
        subprotocols: Iterable[str] = (),
        allowed_origins: str | Iterable[str] = "same-origin",
        compression: CompressionConfig | Literal["server"] | None = "server",
        executor: _Executor | None = None,
        authorize: Callable[[HttpRequest], HttpResponse | None] | None = None,
    ) -> None:
        if not isinstance(message_handler, WebSocketMessageHandler):
            message = f"message_handler must be a WebSocketMessageHandler, not {message_handler!r}"
            raise TypeError(message)
        self._callbacks = Callbacks(message_handler, _checked_submit(executor))
        self._terms = Terms(subprotocols, allowed_origins, _checked_compression(compression))
        self._authorize = authorize
        # With nobody to ask, and no subclass that does other things.
        is_all_there_is = authorize is None and type(self) is WebSocketHandler
        self._gate = Gate(self._terms, self._callbacks) if is_all_there_is else None

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        """Check the handshake, and upgrade the connection or say why not."""
        accepted = self.check(context, context.server.websocket_manager.core)
        if not isinstance(accepted, Acceptance):
            return accepted
        context.upgrade(accepted.headers, accepted.take_over, accepted.permit.release)
        return None

    def gate(self, head: RequestHead) -> Gate | None:
        """Return that of all handshakes, if there is no ``authorize`` to ask."""
        del head
        return self._gate

    def check(self, opening: Opening, core: Core) -> Acceptance | HttpResponse:
        """Check an opening handshake, for the manager that gets its connection.

        Returns:
            What there is to do, or the response that refuses it. An accepted handshake holds a
            place among the connections, until it is taken over or its permit is released.
        """
        accepted = self._terms.check(opening.head, opening.source.scheme, core)
        if isinstance(accepted, Refusal):
            return _refuse(accepted.status, accepted.reason, accepted.fields)
        permit = core.admit(opening.source.remote_address[0])
        if not isinstance(permit, Permit):
            status, reason = _LIMITS[permit]
            return _refuse(status, reason, [("Retry-After", str(RETRY_AFTER))])
        response = self._ask_program(opening, core, permit)
        if response is not None:
            return response
        return Acceptance(accepted, permit, self._callbacks, opening.source, core)

    def _ask_program(self, opening: Opening, core: Core, permit: Permit) -> HttpResponse | None:
        """Return the response by which the program refuses a handshake, if it does."""
        if self._authorize is None:
            return None
        is_accepted = False
        try:
            request = opening.request
            response = self._authorize(request)
            opening.source.user = request.user
            is_accepted = response is None
        finally:
            if not is_accepted:
                permit.release()
                core.count_refused("authorize")
        return response


def _refuse(status: int, reason: str, headers: list[tuple[str, str]]) -> HttpResponse:
    return HttpResponse(reason + "\n", status=status, headers=headers, mimetype="text/plain")


def _checked_compression(
    compression: CompressionConfig | Literal["server"] | None,
) -> CompressionConfig | Literal["server"] | None:
    if compression != "server" and not isinstance(compression, CompressionConfig | None):
        message = f"compression must be a CompressionConfig, 'server' or None, not {compression!r}"
        raise TypeError(message)
    return compression


def _checked_submit(
    executor: _Executor | None,
) -> Callable[[Callable[[], None]], object] | None:
    if executor is None:
        return None
    if not callable(getattr(executor, "submit", None)):
        message = f"executor must have a submit method, and {executor!r} has none"
        raise TypeError(message)
    # Not imported for this: whoever has one has imported it.
    processes = sys.modules.get("concurrent.futures.process")
    if processes is not None and isinstance(executor, processes.ProcessPoolExecutor):
        message = "executor must run callbacks in this process: a ThreadPoolExecutor does"
        raise TypeError(message)
    return executor.submit
