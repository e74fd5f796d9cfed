"""What is done with a connection when it waits for nothing.

`Service` parses a request head, runs the handler, and sends its response, as far as that goes
without waiting for the network: what cannot go on is handed back to the acceptor. The exceptions
are responses that belong to one thread, and request bodies that a handler reads as they come.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import HTTPException

from handy_ws.http.body import body_of, waits_for_continue
from handy_ws.http.body_stream import BodyStream
from handy_ws.http.connection import State
from handy_ws.http.context import HttpRequestContext, Upgrade
from handy_ws.http.handlers import gate_function, handle_function, streams_function
from handy_ws.http.head import BadRequest, RequestSource, parse_head
from handy_ws.http.listener import local_address
from handy_ws.http.outgoing import NotYet, Outgoing, PeerGone, Then, close_quietly
from handy_ws.http.response import BoundResponse, HttpResponse
from handy_ws.http.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import Gate
    from handy_ws.http.acceptor import Acceptor
    from handy_ws.http.connection import Connection
    from handy_ws.http.handlers import Handler
    from handy_ws.http.response import Answers
    from handy_ws.http.server import HttpServer

__all__ = ["Service"]

_logger = logging.getLogger("handy_ws")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
#: How nearly all clients ask for a WebSocket. Who writes it in another way is served all the same.
_UPGRADE: Final = b"pgrade: websocket\r\n"


class Service:
    """Serves connections, one at a time, for one thread.

    Attributes:
        connection: the one that it works on.
    """

    def __init__(
        self,
        server: HttpServer,
        handler: Handler,
        acceptor: Acceptor,
        answers: Answers,
        *,
        on_long_wait: Callable[[], bool],
    ) -> None:
        """Make one.

        Args:
            server: the server, for the contexts.
            handler: the handler.
            acceptor: where the work comes from and connections go back to.
            answers: renders the responses.
            on_long_wait: called while a client is waited for, until it says that another thread
                works in the place of this one.
        """
        self.connection: Connection | None = None
        self._server = server
        self._call_handler = handle_function(handler)
        self._streams_body = streams_function(handler)
        self._gate_of = gate_function(handler)
        self._acceptor = acceptor
        self._answers = answers
        self._on_long_wait = on_long_wait
        self._sender = Sender(acceptor, server.config, on_long_wait=on_long_wait)
        self._local_address = local_address(acceptor.address)
        self._max_body_size = server.config.max_body_size
        self._max_header_count = server.config.max_header_count

    def cut_off(self) -> None:
        """End a response that belongs to this thread; the acceptor calls this when it is over."""
        self._sender.cut_off()

    def gate_of(self, connection: Connection) -> tuple[str, Gate] | None:
        """Return the path and the gate of a WebSocket handshake, if it has one.

        Then to serve it takes no code of the program's, and so cannot block.
        """
        if connection.state is not State.HEAD_READY or _UPGRADE not in connection.head_bytes:
            return None
        try:
            head = connection.head = parse_head(connection.head_bytes, self._max_header_count)
        except BadRequest:
            return None
        gate = self._gate_of(head)
        return None if gate is None else (head.raw_path, gate)

    def serve_all(self, connections: list[Connection]) -> None:
        """Serve connections that can be served at once."""

        def serve_each() -> None:
            for connection in connections:
                self.serve(connection)

        # Most of them become WebSockets, and the manager's thread is woken for all together.
        self._server.websocket_manager.core.adopting_many(serve_each)

    def serve(self, connection: Connection) -> None:
        """Take a connection as far as it goes. Whatever goes wrong is the end of that one only."""
        self.connection = connection
        try:
            self._work_on(connection)
        except Exception:
            if self._acceptor.forked:
                raise
            _logger.exception("an error in the HTTP server ended a connection")
            self._close(connection)
        self.connection = None

    def _work_on(self, connection: Connection) -> None:
        match connection.state:
            case State.HEAD_READY:
                self._begin(connection)
            case State.BODY_READY:
                self._respond(connection)
            case State.WRITE_READY:
                self._send(connection)
            case _:
                self._close(connection)

    # A request

    def _begin(self, connection: Connection) -> None:
        """Read the head, and run the handler unless a body is still to come."""
        try:
            if connection.head is None:
                connection.head = parse_head(connection.head_bytes, self._max_header_count)
            source = connection.source = self._source_of(connection)
            if connection.proxies is not None:
                connection.head = connection.proxies.apply(source, connection.head)
            head = connection.head
            waits = waits_for_continue(head)
            body = connection.body = body_of(head, self._max_body_size)
            if body is None:
                self._respond(connection)
                return
            if self._streams_body(head):
                connection.stream = BodyStream(
                    connection,
                    body,
                    self._acceptor,
                    self._server.config,
                    asks_first=waits,
                    on_long_wait=self._on_long_wait,
                )
                self._respond(connection)
                return
            rest = body.feed(connection.received)
            if rest is not None:
                connection.received = rest
                self._respond(connection)
                return
        except BadRequest as error:
            self._refuse(connection, error.status, error.reason)
            return
        connection.received = b""
        connection.outgoing = Outgoing(_CONTINUE if waits else b"", Then.READ_BODY)
        self._send(connection)

    def _source_of(self, connection: Connection) -> RequestSource:
        """Say where a request comes from, as far as the connection knows."""
        return RequestSource(
            connection.head_bytes,
            connection.address,
            self._local_address,
            connection.tls_session(),
        )

    def _refuse(self, connection: Connection, status: int, reason: str) -> None:
        """Answer a request that is not understood. What comes behind it is never looked at."""
        connection.received = b""
        is_head = connection.head_bytes.startswith(b"HEAD ")
        connection.outgoing = self._answers.error(status, reason, has_body=not is_head)
        self._send(connection)

    def _respond(self, connection: Connection) -> None:
        """Run the handler and begin to send its response."""
        head, source = connection.head, connection.source
        # Set by _begin, before any way that leads here.
        assert head is not None and source is not None  # noqa: S101, PT018
        context = HttpRequestContext(
            self._server, head, source, connection.open_body(), self._send_now
        )
        outcome = self._run_handler(context)
        if self._acceptor.forked:
            # The handler has forked and returns in the child, which has no server: its thread ends
            # as any thread does that has forked. The connection is the parent's.
            raise SystemExit
        if isinstance(outcome, Upgrade) and not connection.has_whole_body():
            _logger.error("%s asks for an upgrade before the end of its request body", head.path)
            outcome = _failure()
        if isinstance(outcome, Upgrade):
            self._upgrade(connection, context, outcome)
        else:
            context.cancel_upgrade()
            if context.begun is None:
                connection.outgoing = self._render(connection, context, outcome)
            elif outcome is not context.begun:
                self._close(connection)  # it has failed, when it was too late to say so
                return
            self._send(connection)

    def _send_now(self, context: HttpRequestContext, response: HttpResponse) -> None:
        """See `HttpRequestContext.send_now`."""
        connection = self.connection
        assert connection is not None  # noqa: S101 - the one that the context was made for
        if connection.outgoing is None:
            connection.outgoing = self._render(connection, context, response)
        with suppress(NotYet):
            self._sender.send(connection.sock, connection.outgoing)

    def _run_handler(self, context: HttpRequestContext) -> HttpResponse | Upgrade:
        """Return what the handler has chosen: a response, or to upgrade the connection."""
        if context.head.target == "*":
            return HttpResponse(status=204)
        try:
            response = self._call_handler(context)
            if response is None:
                return context.chosen_upgrade or context.response
            if isinstance(response, HttpResponse):
                return response
            msg = f"a handler must return an HttpResponse or None, not {type(response).__name__}"
            raise TypeError(msg)  # noqa: TRY301 - logged like any other fault of the handler
        except HTTPException as error:
            return error.get_response(context.request.environ)
        except PeerGone:
            return _failure()  # which nobody will read
        except BaseException:
            if self._acceptor.forked:
                raise
            # SystemExit too: it would end this thread, and with it a part of the server.
            _logger.exception("the handler of %s %s failed", context.head.method, context.head.path)
            return _failure()

    def _render(
        self, connection: Connection, context: HttpRequestContext, response: HttpResponse
    ) -> Outgoing:
        keep_alive = context.head.keeps_alive and not self._acceptor.stopping
        if connection.stream is not None:
            # Parts that are still to be made may read on, and only they.
            is_read = connection.stream.begin_answer(reads_on=not response.is_sequence)
            keep_alive = keep_alive and is_read
        try:
            outgoing = self._answers.outgoing(context, response, keep_alive=keep_alive)
        except Exception:
            _logger.exception("the response to %s cannot be sent", context.head.path)
            close_quietly(response.close)
            response = _failure()
            outgoing = self._answers.outgoing(context, response, keep_alive=keep_alive)
        outgoing.on_close(partial(_close, response, context))
        if isinstance(response, BoundResponse) and response.is_bound:
            outgoing.bind()
        return outgoing

    # Sending

    def _send(self, connection: Connection) -> None:
        """Send on, and when the response is out, do what comes then."""
        outgoing = connection.outgoing
        assert outgoing is not None  # noqa: S101 - a connection with nothing to send is not sent
        try:
            if not self._sender.send(connection.sock, outgoing):
                self._acceptor.hand_back(connection, State.WRITING)
                return
        except PeerGone:
            self._close(connection)
            return
        except BaseException:
            _logger.exception("a response broke off, its connection is closed")
            self._close(connection)
            return
        connection.outgoing = None
        outgoing.close()
        entry = connection.take_entry() if outgoing.status else None
        self._go_on(connection, outgoing.then)
        if entry is not None:
            # The next request does not wait for this.
            entry.write(outgoing.status, outgoing.body_sent)

    def _go_on(self, connection: Connection, then: Then) -> None:
        if then is Then.KEEP_ALIVE and connection.sock.has_ended and not connection.received:
            self._close(connection)  # there will be no other request
        elif then is Then.KEEP_ALIVE:
            connection.end_request()
            self._acceptor.hand_back(connection, State.IDLE)
        elif then is Then.READ_BODY:
            self._acceptor.hand_back(connection, State.READING_BODY)
        elif then is Then.LINGER or connection.received:
            # What the client has sent and nobody reads would reset the connection.
            connection.received = b""
            connection.end_request()
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
            self._acceptor.hand_back(connection, State.LINGERING)
        else:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._acceptor.forget(connection)
        connection.close()

    # Upgrading

    def _upgrade(
        self, connection: Connection, context: HttpRequestContext, upgrade: Upgrade
    ) -> None:
        """Let go of the socket: from here on it belongs to whoever asked for it."""
        try:
            response = self._answers.upgrade(upgrade.headers)
        except ValueError:
            _logger.exception("the 101 response to %s cannot be sent", context.head.path)
            context.cancel_upgrade()
            connection.outgoing = self._render(connection, context, _failure())
            self._send(connection)
            return
        self._acceptor.forget(connection)
        connection.end_body()
        self.connection = None
        entry = connection.take_entry()
        try:
            upgrade.take_over(connection.sock, response, bytes(connection.received))
        except BaseException:
            _logger.exception("taking over a connection failed, it is closed")
            connection.close()
            context.cancel_upgrade()
        else:
            if entry is not None:
                entry.write(101, 0, upgraded=True)


def _failure() -> HttpResponse:
    return HttpResponse("Internal Server Error\n", 500)


def _close(response: HttpResponse, context: HttpRequestContext) -> None:
    """Close what belongs to a request and its response, which is over."""
    try:
        response.close()
    finally:
        context.close_uploads()
