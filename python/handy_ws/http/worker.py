"""The threads that run handlers.

A worker takes a connection from the queue when there is something to compute for it: a request
head to parse, a handler to run, a response to go on with. It does not wait for the network: what
cannot go on is handed back to the acceptor, and the worker takes the next connection, so a pool
of any size serves any number of slow clients. The exceptions are responses that belong to one
thread, and request bodies that a handler reads as they come. Whoever has to wait for the client of
such a one is replaced meanwhile (`pool.py`).
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import HTTPException

from handy_ws.http.body import body_of, waits_for_continue
from handy_ws.http.body_stream import BodyStream
from handy_ws.http.connection import State
from handy_ws.http.context import HttpRequestContext, Upgrade
from handy_ws.http.handlers import handle_function, streams_function
from handy_ws.http.head import BadRequest, RequestSource, parse_head
from handy_ws.http.outgoing import NotYet, Outgoing, PeerGone, Then, close_quietly
from handy_ws.http.response import BoundResponse, HttpResponse
from handy_ws.http.sender import Sender

if TYPE_CHECKING:
    from queue import SimpleQueue

    from handy_ws.http.acceptor import Acceptor
    from handy_ws.http.connection import Connection
    from handy_ws.http.handlers import Handler
    from handy_ws.http.pool import WorkerPool
    from handy_ws.http.response import Answers
    from handy_ws.http.server import HttpServer

__all__ = ["Worker"]

_logger = logging.getLogger("handy_ws")

#: The name and port of a server with a unix socket, which has neither, but PEP 3333 wants them.
_UNIX_SERVER: Final = ("localhost", 80)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Worker(threading.Thread):
    """One worker thread.

    Attributes:
        done: how many pieces of work it has finished; only ever grows.
        connection: what it works on.
    """

    def __init__(  # noqa: PLR0913 - what a run consists of
        self,
        number: int,
        server: HttpServer,
        handler: Handler,
        acceptor: Acceptor,
        answers: Answers,
        *,
        pool: WorkerPool,
    ) -> None:
        """Make the thread; `start` starts it.

        Args:
            number: for the name of the thread.
            server: the server, for the contexts.
            handler: the handler.
            acceptor: where the work comes from and connections go back to.
            answers: renders the responses.
            pool: the workers that it is one of.
        """
        super().__init__(name=f"handy-ws-http-{number}", daemon=True)
        self.done = 0
        self.connection: Connection | None = None
        self._server = server
        self._call_handler = handle_function(handler)
        self._streams_body = streams_function(handler)
        self._acceptor = acceptor
        self._answers = answers
        self._pool = pool
        self._is_replaced = False
        self._sender = Sender(acceptor, server.config, on_long_wait=self._be_replaced)
        self._work: SimpleQueue[Connection | None] = acceptor.work
        address = acceptor.address
        self._local_address = _UNIX_SERVER if isinstance(address, str) else address
        self._max_body_size = server.config.max_body_size
        self._max_header_count = server.config.max_header_count

    def run(self) -> None:
        """Work until the queue says None, or another one works in the place of this worker."""
        get = self._work.get
        while not self._is_replaced and (connection := get()) is not None:
            self.connection = connection
            try:
                self._work_on(connection)
            except Exception:
                if self._acceptor.forked:
                    raise
                _logger.exception("an error in the HTTP server ended a connection")
                self._close(connection)
            self.connection = None
            self.done += 1
            if self._is_replaced:
                self._pool.leave(self)
            if self._acceptor.stopping:
                self._acceptor.wake()

    def cut_off(self) -> None:
        """End a response that belongs to this thread; the acceptor calls this when it is over."""
        self._sender.cut_off()

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
                    on_long_wait=self._be_replaced,
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

    def _be_replaced(self) -> bool:
        """Have another worker work in the place of this one, which waits; say whether one does."""
        if not self._is_replaced:
            self._is_replaced = self._pool.replace()
        return self._is_replaced

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
