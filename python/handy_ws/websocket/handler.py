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

Header fields are lists of tokens: ``Connection: keep-alive, Upgrade`` is an upgrade, and
``Upgrade: notwebsocket`` is none.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

from handy_ws._core import Callbacks, Negotiator, Permit, accept_value
from handy_ws.config import CompressionConfig
from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.response import HttpResponse
from handy_ws.http.syntax import is_token
from handy_ws.websocket.acceptance import Acceptance
from handy_ws.websocket.message_handler import WebSocketMessageHandler
from handy_ws.websocket.origin import OriginPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from handy_ws._core import Agreement
    from handy_ws._core import WebSocketManager as Core
    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead
    from handy_ws.http.request import HttpRequest
    from handy_ws.websocket.acceptance import Opening

__all__ = ["RETRY_AFTER", "WebSocketHandler"]

_VERSION = "13"
#: A 426 must name the protocol to upgrade to: RFC 9110 section 15.5.22.
_UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
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


class _RefusedError(Exception):
    """The handshake is not accepted, and why."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: dict[str, str] | None = None,
        check: Literal["handshake", "origin"] = "handshake",
    ) -> None:
        super().__init__(reason)
        self.response = HttpResponse(
            reason + "\n", status=status, headers=headers, mimetype="text/plain"
        )
        self.check = check


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
        self._subprotocols = _checked_subprotocols(subprotocols)
        self._origin_policy = OriginPolicy(allowed_origins)
        self._negotiator = _checked_negotiator(compression)
        self._authorize = authorize
        self._is_all_there_is = authorize is None and type(self) is WebSocketHandler

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        """Check the handshake, and upgrade the connection or say why not."""
        accepted = self.check(context, context.server.websocket_manager.core)
        if not isinstance(accepted, Acceptance):
            return accepted
        context.upgrade(accepted.headers, accepted.take_over, accepted.permit.release)
        return None

    def answers_at_once(self, head: RequestHead) -> bool:
        """Say that there is no ``authorize`` to ask, and no subclass that does other things."""
        del head
        return self._is_all_there_is

    def check(self, opening: Opening, core: Core) -> Acceptance | HttpResponse:
        """Check an opening handshake, for the manager that gets its connection.

        Returns:
            What there is to do, or the response that refuses it. An accepted handshake holds a
            place among the connections, until it is taken over or its permit is released.
        """
        head = opening.head
        try:
            accept = _check_handshake(head)
            self._check_origin(head, opening.source.scheme)
            subprotocol = self._choose_subprotocol(head)
            agreement = self._agree_on_extensions(head, core)
        except _RefusedError as refused:
            core.count_refused(refused.check)
            return refused.response
        permit = core.admit(opening.source.remote_address[0])
        if not isinstance(permit, Permit):
            return _refuse_for_now(permit)
        response = self._ask_program(opening, core, permit)
        if response is not None:
            return response
        return Acceptance(
            accept, subprotocol, agreement, permit, self._callbacks, opening.source, core
        )

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

    def _check_origin(self, head: RequestHead, scheme: str) -> None:
        origins = head.get_all("origin")
        if len(origins) > 1:
            reason = "more than one Origin header"
            raise _RefusedError(400, reason)
        host = head.get("host") or ""
        if origins and not self._origin_policy.allows(origins[0], host, scheme):
            reason = f"origin {origins[0]!r} is not allowed"
            raise _RefusedError(403, reason, check="origin")

    def _choose_subprotocol(self, head: RequestHead) -> str | None:
        if head.get("sec-websocket-protocol") is None:
            return None
        offered = head.members("sec-websocket-protocol")
        are_tokens = all(map(is_token, offered))
        # One at least (RFC 6455 section 11.3.4), and no two alike (section 4.1).
        if not offered or not are_tokens or len(set(offered)) < len(offered):
            reason = "Sec-WebSocket-Protocol must be a list of different tokens"
            raise _RefusedError(400, reason)
        return next((name for name in offered if name in self._subprotocols), None)

    def _agree_on_extensions(self, head: RequestHead, core: Core) -> Agreement | None:
        values = head.get_all("sec-websocket-extensions")
        if not values:
            return None
        negotiator = core.negotiator if self._negotiator is None else self._negotiator
        try:
            return negotiator.negotiate(", ".join(values))
        except ValueError as error:
            raise _RefusedError(400, str(error)) from None


def _check_handshake(head: RequestHead) -> str:
    """Return what accepts a handshake, if it satisfies RFC 6455 section 4.2.1."""
    if head.method != "GET":
        reason = "a WebSocket handshake is a GET request"
        raise _RefusedError(405, reason, {"Allow": "GET"})
    _check_upgrade(head)
    # The parser has seen to it that neither of the two comes twice.
    version = head.get("sec-websocket-version")
    if version is None:
        reason = "Sec-WebSocket-Version is missing"
        raise _RefusedError(400, reason)
    if version != _VERSION:
        reason = f"WebSocket version {version!r} is not spoken here, only {_VERSION}"
        raise _RefusedError(426, reason, {**_UPGRADE, "Sec-WebSocket-Version": _VERSION})
    key = head.get("sec-websocket-key")
    accept = None if key is None else accept_value(key)
    if accept is None:
        reason = "there must be a Sec-WebSocket-Key header, with 16 bytes in base64"
        raise _RefusedError(400, reason)
    return accept


def _check_upgrade(head: RequestHead) -> None:
    """Check that an HTTP/1.1 client asks for this upgrade, in lists that are well formed."""
    if not head.has_token("upgrade", "websocket"):
        reason = "this resource speaks the WebSocket protocol: Upgrade: websocket is missing"
        raise _RefusedError(426, reason, _UPGRADE)
    if head.version != "1.1":
        reason = "a WebSocket handshake is an HTTP/1.1 request"
        raise _RefusedError(400, reason)
    if not head.has_token("connection", "upgrade"):
        reason = "Connection: Upgrade is missing"
        raise _RefusedError(400, reason)
    if not head.is_protocol_list("upgrade") or not head.is_token_list("connection"):
        reason = "Upgrade must be a list of protocols, and Connection one of tokens"
        raise _RefusedError(400, reason)


def _refuse_for_now(limit: str) -> HttpResponse:
    status, reason = _LIMITS[limit]
    headers = {"Retry-After": str(RETRY_AFTER)}
    return HttpResponse(reason + "\n", status=status, headers=headers, mimetype="text/plain")


def _checked_negotiator(
    compression: CompressionConfig | Literal["server"] | None,
) -> Negotiator | None:
    """Return who answers offers of extensions, ``None`` for whom the server's manager names."""
    if compression == "server":
        return None
    if compression is not None and not isinstance(compression, CompressionConfig):
        message = f"compression must be a CompressionConfig, 'server' or None, not {compression!r}"
        raise TypeError(message)
    return Negotiator(compression)


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


def _checked_subprotocols(subprotocols: Iterable[str]) -> frozenset[str]:
    if isinstance(subprotocols, str):
        subprotocols = (subprotocols,)
    names = frozenset(subprotocols)
    for name in names:
        if not isinstance(name, str) or not is_token(name):
            message = f"subprotocols must be tokens (RFC 9110 section 5.6.2), not {name!r}"
            raise ValueError(message)
    return names
