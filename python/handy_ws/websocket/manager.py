"""`WebSocketManager`: all the connections of a server, or of a program beside another server.

The core (Rust, `handy_ws._core`) has the connections and the loop; `life.py` says when it runs, and
`takeover.py` how a socket is taken over from another server.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from handy_ws._core import WebSocketManager as Core
from handy_ws.config import WebSocketConfig
from handy_ws.http.head import BadRequest
from handy_ws.http.listener import host_and_port
from handy_ws.http.response import Answers, HttpResponse
from handy_ws.websocket.acceptance import Acceptance
from handy_ws.websocket.foreign import opening_from_bytes, opening_from_environ
from handy_ws.websocket.handler import RETRY_AFTER, WebSocketHandler
from handy_ws.websocket.life import Life, StoppedError
from handy_ws.websocket.manager_run import DEFAULT_TIMEOUT, GRACE, check_timeout
from handy_ws.websocket.takeover import Copy, check_socket, offer_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from handy_ws._core import WebSocketConnection
    from handy_ws.websocket.enums import SendResult
    from handy_ws.websocket.foreign import ForeignOpening
    from handy_ws.websocket.stats import ManagerStats
    from handy_ws.websocket.takeover import Offer

__all__ = ["WebSocketManager"]

_ANSWERS: Final = Answers({})


class WebSocketManager:
    """All the WebSocket connections of a server (handy-httpd's ``WebSocketManager``).

    That of an `HttpServer` is there from the server's construction on, and its thread runs while
    the server does. A program that stays on another server makes one itself, and gives it sockets
    with `upgrade` or `adopt`; the first of them starts its thread::

        manager = WebSocketManager()
        chat = WebSocketHandler(Chat())

        @app.get("/chat", websocket=True)
        def chat_view():
            return manager.upgrade(request.environ, chat)

    All methods may be called from any thread. A manager is true, also while it has no connections.
    In a forked child it has none, and starts anew.

    Attributes:
        core: the compiled part, for the server.
        life: when it runs, for the server.
    """

    __slots__ = ("__weakref__", "core", "life")

    def __init__(self, config: WebSocketConfig | None = None, *, of_server: bool = False) -> None:
        """Make a manager.

        Args:
            config: the settings; ``WebSocketConfig()`` by default.
            of_server: whether a server starts and stops it; not for programs.

        Raises:
            TypeError: config is no ``WebSocketConfig``.
        """
        if config is None:
            config = WebSocketConfig()
        elif not isinstance(config, WebSocketConfig):
            raise TypeError(f"config must be a WebSocketConfig, not {type(config).__name__}")
        self.core = Core(config)
        self.life = Life(self.core, of_server=of_server)

    def broadcast(
        self,
        message: str | Buffer,
        *,
        exclude: WebSocketConnection | None = None,
        compress: bool = True,
    ) -> SendResult:
        """Send a message to every open connection (handy-httpd's ``broadcast``).

        Any thread may call this, also in a callback; it never blocks. The message is compressed
        once for all connections that have agreed on the same compression.

        Args:
            message: a ``str`` goes out as text, a bytes-like object as binary.
            exclude: a connection that does not get it.
            compress: False sends it as it is.

        Returns:
            ``SendResult.QUEUED``, ``BACKPRESSURE`` (queued, and more than half of
            ``broadcast_queue_limit`` waits for the loop) or ``DROPPED`` (over that limit: nobody
            gets it). Whether each connection gets what is queued is up to its own queue and
            ``slow_consumer``. While no loop runs nobody is there who could miss it, and so it is
            ``QUEUED``.

        Raises:
            TypeError: the message is neither.
            RuntimeError: this is a forked child, and the connections are its parent's.
        """
        return self.core.broadcast(message, exclude=exclude, compress=compress)

    @property
    def connections(self) -> list[WebSocketConnection]:
        """Those between ``on_connection_established`` and ``on_connection_closed``: a new list."""
        return self.core.connections

    def stats(self) -> ManagerStats:
        """Return what the manager has counted."""
        return self.core.stats()

    def upgrade(
        self,
        environ: Mapping[str, Any],
        handler: WebSocketHandler,
        *,
        path_params: Mapping[str, Any] | None = None,
        user: Any = None,
    ) -> HttpResponse:
        """Take a connection over from the WSGI server that runs this program.

        The handshake is checked as at an `HttpServer`. If it is accepted, the manager has the
        connection from then on; the server finds a connection in its place that the client has
        closed. So whatever it sends does not reach the client, and its thread is free at once.

        The socket is offered by gunicorn's workers ``gthread`` and ``sync``, and by werkzeug's
        development server.

        Args:
            environ: the environment of the request (PEP 3333).
            handler: whose connection it becomes.
            path_params: what ``connection.request.path_params`` is to have.
            user: what ``connection.request.user`` is to be, unless ``authorize`` says otherwise.

        Returns:
            The response that the view has to return: 101 if the connection was taken over, and what
            refuses the handshake otherwise. It is a WSGI application, too.

        Raises:
            RuntimeError: this server does not offer its socket, or has a TLS session of Python's on
                it; or the manager is that of an `HttpServer` that does not run.
            OSError: the system has no more descriptors or threads to give.
        """
        _check_handler(handler)
        try:
            opening = opening_from_environ(environ, path_params, user)
        except BadRequest as error:
            return self._refuse(error)
        accepted = handler.check(opening, self.core)
        if not isinstance(accepted, Acceptance):
            return accepted
        refusal = self._take_over(accepted, lambda: offer_in(environ))
        return refusal or HttpResponse(status=101, headers=accepted.headers)

    def adopt(
        self,
        sock: socket.socket,
        handler: WebSocketHandler,
        request: bytes | Mapping[str, Any],
        *,
        received: bytes = b"",
        remote_address: tuple[str, int] | None = None,
    ) -> HttpResponse | None:
        """Take over a socket whose client has sent an opening handshake, and wait for no answer.

        The handshake is checked as at an `HttpServer`. If it is accepted, the manager sends the 101
        response, and is the socket's only owner; `sock` is closed. Otherwise, and if this raises,
        the socket stays yours.

        Args:
            sock: connected, and without TLS.
            handler: whose connection it becomes.
            request: the request head as it came, up to and with the empty line; or the environment
                that a WSGI server has made of it.
            received: what has been read from the socket behind the head.
            remote_address: host and port of the client; by default the environment's, or the
                socket's.

        Returns:
            None if the socket was adopted, and the response that refuses the handshake otherwise:
            it is yours to send.

        Raises:
            TypeError: an argument is of the wrong type.
            RuntimeError: the socket has a TLS session of Python's on it; or the manager is that of
                an `HttpServer` that does not run.
            OSError: the system has no more descriptors or threads to give, or the socket is not
                connected.
        """
        _check_handler(handler)
        check_socket(sock)
        try:
            opening = _opening(request, sock)
        except BadRequest as error:
            return self._refuse(error)
        if remote_address is not None:
            opening.source.remote_address = remote_address
        accepted = handler.check(opening, self.core)
        if not isinstance(accepted, Acceptance):
            return accepted
        refusal = self._take_over(accepted, lambda: Copy(sock, received))
        if refusal is None:
            sock.close()  # the manager has another descriptor
        return refusal

    def start(self) -> None:
        """Start the thread, unless it runs; the first socket to adopt does that, too.

        Raises:
            RuntimeError: it is stopping still; or the manager belongs to a server.
            OSError: the system has no more descriptors or threads to give.
        """
        self.life.start()

    def stop(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Close all connections with 1001, and stop; does nothing if it does not run.

        What is not over after `timeout` is abandoned, with a warning in the log. Handshakes are
        refused with 503 until `start` is called. A manager that nobody stops is stopped when the
        interpreter exits, in one second at most.

        Called in a WebSocket callback it asks for all this and returns at once, because it cannot
        wait for the thread it is called on.

        Args:
            timeout: how long all that may take, in seconds.

        Raises:
            ValueError: the timeout is negative, not a number, or more than a million seconds.
            RuntimeError: the manager belongs to a server.
        """
        check_timeout(timeout)
        self.life.stop(timeout)
        self.life.wait(timeout + GRACE)

    def __enter__(self) -> Self:
        """Start the thread."""
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def __len__(self) -> int:
        return len(self.core)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self.core)

    def _refuse(self, error: BadRequest) -> HttpResponse:
        self.core.count_refused("handshake")
        return HttpResponse(f"{error.reason}\n", error.status, mimetype="text/plain")

    def _take_over(
        self, accepted: Acceptance, find: Callable[[], Offer | Copy]
    ) -> HttpResponse | None:
        """Give the core the socket that is found, or return the response that says why not."""
        is_taken = False
        try:
            response = _ANSWERS.upgrade(accepted.headers)
            found = find()
            with self.life.adopting():
                sock, received = found.take()
                _send_at_once(sock)
                accepted.take_over(sock, response, received)
            is_taken = True
        except StoppedError:
            headers = {"Retry-After": str(RETRY_AFTER)}
            return HttpResponse("the server stops\n", 503, headers, mimetype="text/plain")
        finally:
            if not is_taken:
                accepted.permit.release()
        return None


def _check_handler(handler: object) -> None:
    if not isinstance(handler, WebSocketHandler):
        raise TypeError(f"handler must be a WebSocketHandler, not {type(handler).__name__}")


def _opening(request: object, sock: socket.socket) -> ForeignOpening:
    if isinstance(request, Mapping):
        return opening_from_environ(request)
    if not isinstance(request, bytes):
        kind = type(request).__name__
        raise TypeError(f"request must be the bytes of a head, or a WSGI environ, not {kind}")
    remote, local = host_and_port(sock.getpeername()), host_and_port(sock.getsockname())
    return opening_from_bytes(request, remote, local)


def _send_at_once(sock: socket.socket) -> None:
    """Have small messages not wait for the acknowledgement of those before (RFC 896)."""
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        with suppress(OSError):  # the connection is gone, and the manager will notice
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
