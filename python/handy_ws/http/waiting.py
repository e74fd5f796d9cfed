"""What happens to the connections that wait, one step at a time.

`WaitingRoom` holds every connection that has made a request and that no worker has. For each event
or missed deadline it takes one step without blocking: reads what has come, sends what fits, and
decides whether the connection waits on, is closed, or is ready for a worker. It belongs to the
acceptor's thread.
"""

from __future__ import annotations

import logging
import socket
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from handy_ws._core import TlsStream
from handy_ws.http import access_log
from handy_ws.http.access_log import AccessEntry
from handy_ws.http.connection import Connection, State
from handy_ws.http.deadlines import Deadlines
from handy_ws.http.forwarded import TrustedProxies
from handy_ws.http.head import BadRequest, find_head_end
from handy_ws.http.outgoing import PeerGone
from handy_ws.http.pace import Pace, period_of
from handy_ws.http.poller import READ, WRITE
from handy_ws.http.proxy_protocol import ProxyProtocolError, find_header_end, read_header
from handy_ws.http.stream import PlainStream

if TYPE_CHECKING:
    from handy_ws._core import Arrival, Reception
    from handy_ws.config import ServerConfig
    from handy_ws.http.outgoing import Outgoing
    from handy_ws.http.poller import Poller
    from handy_ws.http.response import Answers
    from handy_ws.http.stream import Stream

__all__ = ["WaitingRoom"]

_logger = logging.getLogger("handy_ws")

_HEAD_READ: Final = 8 * 1024
_BODY_READ: Final = 64 * 1024
#: Bytes sent to one client before the others get their turn.
_SEND_BUDGET: Final = 256 * 1024
#: How long, and for how many bytes, a closing connection is read so that the client, which may
#: still be sending, is not reset before it has seen the response: RFC 9112 section 9.6.
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1024 * 1024
_TOO_SLOW: Final = "the request head took too long"


class WaitingRoom:
    """The connections that wait for the network.

    Attributes:
        ready: those for which the wait is over, to be passed on to the workers.
        deadlines: until when each of the others may wait, or when to look how it keeps up.
        proxies: who is believed what it says about its clients; None for nobody.
    """

    def __init__(
        self,
        config: ServerConfig,
        answers: Answers,
        poller: Poller,
        reception: Reception,
        family: int,
    ) -> None:
        """Make an empty room.

        Args:
            config: the limits.
            answers: renders the error answers.
            poller: waits for the sockets.
            reception: reads what clients say first.
            family: that of the sockets.
        """
        self.ready: list[Connection] = []
        self.deadlines: Deadlines[State, Connection] = Deadlines(
            {
                State.READING_PROXY_HEADER: config.head_timeout,
                State.READING_HEAD: config.head_timeout,
                State.IDLE: config.keep_alive_timeout,
                State.READING_BODY: period_of(config),
                State.WRITING: period_of(config),
                State.LINGERING: _LINGER_SECONDS,
            }
        )
        self._config = config
        self._max_head_size = config.max_head_size
        self.proxies = TrustedProxies.of(config)
        self._answers = answers
        self._poller = poller
        self._reception = reception
        self._family = family

    # Coming and going

    def enter(self, connection: Connection, state: State) -> None:
        """Have a connection wait in `state`, from now on until the deadline of that state."""
        self._leave(connection)
        connection.state = state
        if state is State.READING_BODY:
            connection.pace = Pace.of_body(self._config)
        elif connection.outgoing is not None and connection.outgoing.pace is None:
            connection.outgoing.pace = Pace.of_response(self._config)
        self.deadlines.add(state, connection, monotonic())
        self._watch(connection)
        if state is State.IDLE and connection.received:
            self._look_for_head(connection)

    def close(self, connection: Connection) -> None:
        """Close a connection that waits."""
        if connection.outgoing is not None:
            # The response has code of the program to run, which might block.
            self._pass_on(connection, State.BROKEN)
            return
        self._leave(connection)
        self._poller.forget(connection)
        connection.close()

    def close_without_request(self) -> None:
        """Close all connections that have no request in work."""
        for state in (
            State.READING_PROXY_HEADER,
            State.READING_HEAD,
            State.READING_BODY,
            State.IDLE,
            State.LINGERING,
        ):
            for connection in self.deadlines.waiting(state):
                self.close(connection)
        self._reception.let_go()

    def _watch(self, connection: Connection) -> None:
        """Wait for what the state needs; and for room, if the stream has something to send."""
        if connection.state is State.WRITING:
            self._poller.watch(connection, WRITE)
        else:
            self._poller.watch(connection, READ | WRITE if connection.sock.unsent else READ)

    def _leave(self, connection: Connection) -> None:
        self.deadlines.discard(connection.state, connection)

    def _pass_on(self, connection: Connection, state: State) -> None:
        self._leave(connection)
        connection.state = state
        self.ready.append(connection)

    def next_deadline(self) -> float:
        """Return the time at which somebody has to be let go, or infinity."""
        due = self._reception.next_due()
        return min(self.deadlines.next(), inf if due is None else due)

    # What happens to a connection

    def welcome(self, connection: Connection) -> None:
        """Take the first step with a connection that a proxy may have to introduce."""
        proxies = self.proxies
        if proxies is not None and proxies.trust(connection.address[0]):
            connection.proxies = proxies
            connection.state = State.READING_PROXY_HEADER
            self._read_proxy_header(connection)
        else:
            self._go_to_reception(connection)

    def _go_to_reception(self, connection: Connection) -> None:
        """Have the core read what the client itself says first. Its time runs from now on."""
        self._leave(connection)
        self._poller.forget(connection)
        connection.state = State.READING_HEAD
        self._reception.add(monotonic(), connection.sock.detach(), connection.address, connection)

    def connection_of(self, arrival: Arrival) -> Connection:
        """Return the connection of a client that has come out of the reception."""
        stream: Stream
        if isinstance(arrival.stream, TlsStream):
            stream = arrival.stream
        else:
            stream = PlainStream.take(arrival.stream, self._family)
        introduced: Connection | None = arrival.owner
        if introduced is not None:
            introduced.sock = stream
            return introduced
        connection = Connection(stream, arrival.address)
        if self.proxies is not None and self.proxies.trust(connection.address[0]):
            connection.proxies = self.proxies
        return connection

    def receive(self, connection: Connection, arrival: Arrival) -> None:
        """Take the first step with a connection that has come out of the reception."""
        connection.received = arrival.received
        match arrival.reason:
            case "head":
                self._look_for_head(connection)
            case "late":
                self._refuse(connection, 408, _TOO_SLOW)
            case _:
                self._refuse(connection, 400, "this port speaks TLS: use https:// or wss://")

    def on_event(self, connection: Connection) -> None:
        """Take a step: the socket is readable or writable."""
        match connection.state:
            case State.READING_HEAD | State.IDLE:
                self._read_head(connection)
            case State.READING_BODY:
                self._read_body(connection)
            case State.WRITING:
                self._write(connection)
            case State.LINGERING:
                self._discard(connection)
            case State.READING_PROXY_HEADER:
                self._read_proxy_header(connection)
            case _:
                # A worker has it. Whatever came must wait, and must not keep us awake.
                self._poller.forget(connection)

    def on_deadline(self, connection: Connection) -> None:
        """Take a step: the connection has waited too long."""
        match connection.state:
            case State.READING_HEAD if connection.received:
                self._refuse(connection, 408, _TOO_SLOW)
            case State.READING_BODY | State.WRITING if self._keeps_up(connection):
                self.deadlines.add(connection.state, connection, monotonic())
            case State.READING_BODY:
                self._refuse(connection, 408, "the request body comes too slowly")
            case _:
                self.close(connection)

    def _keeps_up(self, connection: Connection) -> bool:
        """Look whether a client sends its body, or takes its response, as fast as it must."""
        outgoing, body, pace = connection.outgoing, connection.body, connection.pace
        if outgoing is not None and outgoing.pace is not None:
            return outgoing.pace.keeps_up(outgoing.delivered(connection.sock))
        return body is not None and pace is not None and pace.keeps_up(body.size)

    def _receive(self, connection: Connection, size: int, *flags: int) -> bytes | None:
        """Return what has come; None if nothing has, or the connection has been closed."""
        sock = connection.sock
        data: bytes | None = None
        try:
            if sock.unsent:
                sock.flush()
            data = sock.recv(size, *flags)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            if isinstance(sock, TlsStream):
                _logger.debug("TLS with %s failed: %s", connection.address[0], error)
            data = b""
        if data == b"":
            self.close(connection)
            return None
        if connection.interest and (sock.unsent or connection.interest & WRITE):
            self._watch(connection)
        return data

    def _read_proxy_header(self, connection: Connection) -> None:
        """Read the header and not a byte more: what comes behind it may be TLS."""
        peeked = self._receive(connection, _HEAD_READ, socket.MSG_PEEK)
        if peeked is None:
            if connection.state is State.READING_PROXY_HEADER and not connection.interest:
                self.enter(connection, State.READING_PROXY_HEADER)
            return
        before = len(connection.received)
        connection.append(peeked)
        try:
            end = find_header_end(connection.received)
            connection.sock.recv((end or len(connection.received)) - before)
            introduction = read_header(bytes(connection.received[:end])) if end else None
        except (ProxyProtocolError, OSError) as error:
            _logger.debug("the connection from %s is refused: %s", connection.address[0], error)
            self.close(connection)
            return
        if introduction is not None:
            connection.received = b""
            connection.introduce(introduction)
            self._go_to_reception(connection)
        elif not connection.interest:
            self.enter(connection, State.READING_PROXY_HEADER)

    def _read_head(self, connection: Connection) -> None:
        data = self._receive(connection, _HEAD_READ)
        if data is not None:
            connection.append(data)
            self._look_for_head(connection)

    def _look_for_head(self, connection: Connection) -> None:
        if connection.received[0] in b"\r\n":
            connection.skip_empty_lines()
        received = connection.received
        try:
            end = find_head_end(received, connection.scanned, self._max_head_size)
        except BadRequest as error:
            self._refuse(connection, error.status, error.reason)
            return
        if end:
            connection.scanned = 0
            connection.head_bytes = bytes(received[:end])
            connection.received = bytes(received[end:])
            self._pass_on(connection, State.HEAD_READY)
            return
        connection.scanned = len(received)
        if connection.state is State.IDLE and received:
            self.enter(connection, State.READING_HEAD)
        else:
            self._watch(connection)

    def _read_body(self, connection: Connection) -> None:
        data = self._receive(connection, _BODY_READ)
        if data is None or connection.body is None:
            return
        try:
            rest = connection.body.feed(data)
        except BadRequest as error:
            self._refuse(connection, error.status, error.reason)
            return
        if rest is not None:
            connection.received = rest
            self._pass_on(connection, State.BODY_READY)

    def _write(self, connection: Connection) -> None:
        outgoing = connection.outgoing
        assert outgoing is not None  # noqa: S101 - what makes the state WRITING
        try:
            complete = outgoing.flush(connection.sock, _SEND_BUDGET)
        except PeerGone:
            self.close(connection)
            return
        if complete:
            self._pass_on(connection, State.WRITE_READY)

    def _refuse(self, connection: Connection, status: int, reason: str) -> None:
        """Answer a request that never became one. What comes behind it is never looked at."""
        raw, connection.received = connection.received, b""
        is_head = (connection.head_bytes or raw).startswith(b"HEAD ")
        outgoing = self._answers.error(status, reason, has_body=not is_head)
        try:
            # It fits, unless the client does not read; then it will not read this either.
            outgoing.flush(connection.sock)
            if access_log.is_wanted():
                self._pass_on_to_log(connection, outgoing, raw)
                return
            connection.sock.shutdown(socket.SHUT_WR)
        except (PeerGone, OSError):
            self.close(connection)
        else:
            self.enter(connection, State.LINGERING)

    def _pass_on_to_log(
        self, connection: Connection, outgoing: Outgoing, raw: bytes | bytearray
    ) -> None:
        """Have a worker make the record of a refusal, and let the connection linger then."""
        if connection.entry is None:
            connection.entry = AccessEntry()
        connection.head_bytes = connection.head_bytes or bytes(raw)
        connection.outgoing = outgoing
        self._pass_on(connection, State.WRITE_READY)

    def _discard(self, connection: Connection) -> None:
        data = self._receive(connection, _BODY_READ)
        if data is not None:
            connection.discarded += len(data)
            if connection.discarded > _LINGER_BYTES:
                self.close(connection)
