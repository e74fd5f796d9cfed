"""One client's TCP connection, and which thread it belongs to.

The `State` says what a connection is waiting for, and thereby whose it is: the acceptor's while
it waits for the network, a worker's while there is something to compute. Nobody touches a
connection that is not theirs, so a connection needs no lock. It changes hands through the work
queue (acceptor to worker) and through `Acceptor.hand_back` (worker to acceptor).
"""

from __future__ import annotations

import os
from contextlib import suppress
from enum import Enum, auto
from io import BufferedReader
from typing import TYPE_CHECKING, Final

from handy_ws._core import empty_lines
from handy_ws.http.tls import session_of

if TYPE_CHECKING:
    from io import BufferedIOBase

    from handy_ws.http.access_log import AccessEntry
    from handy_ws.http.body import RequestBody
    from handy_ws.http.body_stream import BodyStream
    from handy_ws.http.forwarded import TrustedProxies
    from handy_ws.http.head import RequestHead, RequestSource
    from handy_ws.http.outgoing import Outgoing
    from handy_ws.http.pace import Pace
    from handy_ws.http.proxy_protocol import Introduction
    from handy_ws.http.stream import Stream
    from handy_ws.http.tls import TlsSession

__all__ = ["Connection", "State"]

_STREAM_BUFFER: Final = 64 * 1024


class State(Enum):
    """What a connection waits for. On the left the acceptor's states, on the right the workers'.

    ::

         accepted ---> READING_PROXY_HEADER, if a proxy has to send one
            |               |
            v <-------------+
            |       the head is whole
            v
        READING_HEAD ----------------------> HEAD_READY --------+------> given to take_over
         ^  ^                                    |              |        (a WebSocket now)
         |  | first byte         body to come    |              |
         |  |         READING_BODY <-------------+              |
         |  |              |      the body is whole             | the handler has run,
         |  |              +---------------> BODY_READY --------+ the response goes out
         |  |                                                   |
         |  |           WRITING <-------- the socket is full ---+
         |  |              |      it takes more                 |
         |  |              +---------------> WRITE_READY -------+
         |  |              | gone, or too slow                  |
         |  |              +---------------> BROKEN --> CLOSED  |
         | IDLE <-------------------------- kept alive ---------+
         |  (and if the next request has begun to arrive:) -----+
         +------------------------------------------------------+
                     LINGERING <----------- closing, input left-+
                           |                                    |
                           +--> CLOSED <------------ closing ---+

    The first head of a connection is read by the core, which makes its TLS session, too
    (`Reception`): it comes to `READING_HEAD` when the head is there, or has taken too long.

    `HEAD_READY`, `BODY_READY`, `WRITE_READY` and `BROKEN` mean: a worker has it, or it is in the
    queue to them. A handler that reads the body as a stream does so in `HEAD_READY`. From the
    acceptor's states it can be closed at any time.
    """

    # Members are keys on the way of every request, and Enum computes their hash in Python.
    __hash__ = object.__hash__

    READING_PROXY_HEADER = auto()
    READING_HEAD = auto()
    HEAD_READY = auto()
    READING_BODY = auto()
    BODY_READY = auto()
    WRITING = auto()
    WRITE_READY = auto()
    BROKEN = auto()
    IDLE = auto()
    LINGERING = auto()
    CLOSED = auto()


class Connection:
    """A client's connection.

    Attributes:
        sock: the stream.
        address: host and port of the peer.
        proxies: how to read what the peer says about its client, if it is a trusted proxy.
        state: see `State`.
        interest: what the acceptor's poller waits for; 0: it does not know it.
        received: bytes that have come and are not used up.
        scanned: how many of them have been searched for the end of the head.
        head_bytes: the head of the current request.
        head: the same, parsed.
        source: where it comes from, and how.
        body: the body of the current request.
        pace: how the client keeps up with sending it, while the acceptor reads it.
        stream: what the handler reads it with, if it does that itself.
        outgoing: the response in progress while it waits for the client to read.
        entry: what to tell in the access log, if anybody wants to know.
        discarded: how many bytes have been read to no purpose while lingering.
    """

    __slots__ = (
        "_tls_session",
        "address",
        "body",
        "discarded",
        "entry",
        "head",
        "head_bytes",
        "interest",
        "outgoing",
        "pace",
        "proxies",
        "received",
        "scanned",
        "sock",
        "source",
        "state",
        "stream",
    )

    def __init__(self, sock: Stream, address: tuple[str, int]) -> None:
        """Make the connection of an accepted stream."""
        self.sock = sock
        self.address = address
        self.proxies: TrustedProxies | None = None
        self.state = State.READING_HEAD
        self.interest = 0
        self.received: bytes | bytearray = b""
        self.scanned = 0
        self.head_bytes = b""
        self.head: RequestHead | None = None
        self.source: RequestSource | None = None
        self.body: RequestBody | None = None
        self.pace: Pace | None = None
        self.stream: BodyStream | None = None
        self.outgoing: Outgoing | None = None
        self.entry: AccessEntry | None = None
        self.discarded = 0
        self._tls_session: TlsSession | None = None

    def tls_session(self) -> TlsSession | None:
        """Return what is known of the TLS session, for which it is asked once; None without one."""
        if self._tls_session is None:
            self._tls_session = session_of(self.sock)
        return self._tls_session

    def introduce(self, introduction: Introduction) -> None:
        """Take note of what a trusted proxy says about the peer by the PROXY protocol."""
        if introduction.is_local or self.proxies is None:
            return
        if introduction.address is not None:
            self.address = introduction.address
            if self.proxies.trust(self.address[0]):
                return
        # It is a client that speaks from here on, or nobody knows who.
        self.proxies = None

    def append(self, data: bytes) -> None:
        """Add what has come. Few heads come in pieces, and only those need a bytearray."""
        if not self.received:
            self.received = data
        elif isinstance(self.received, bytearray):
            self.received += data
        else:
            self.received = bytearray(self.received + data)

    def skip_empty_lines(self) -> None:
        """Cut off the empty lines before a request: RFC 9112 section 2.2."""
        self.received = self.received[empty_lines(self.received) :]
        self.scanned = 0

    def take_entry(self) -> AccessEntry | None:
        """Return what is to be told of the current request, to be told once; None for nothing."""
        entry, self.entry = self.entry, None
        if entry is not None:
            address = self.address if self.source is None else self.source.remote_address
            entry.describe(address, self.head, self.head_bytes)
        return entry

    def end_request(self) -> None:
        """Let go of what belonged to the request that has been answered."""
        self.head_bytes = b""
        self.head = None
        self.source = None
        self.end_body()

    def open_body(self) -> BufferedIOBase | None:
        """Return what the handler reads the body from; None if there is none."""
        if self.stream is not None:
            return BufferedReader(self.stream, _STREAM_BUFFER)
        return None if self.body is None else self.body.open()

    def has_whole_body(self) -> bool:
        """Say whether the body has come, and what comes next is something else."""
        return self.stream is None or self.stream.finish()

    def end_body(self) -> None:
        """Let go of the body, and of the stream that it is read with."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.end()
        body, self.body = self.body, None
        if body is not None:
            body.close()

    def close(self) -> None:
        """Close the socket and let go of everything. It must be out of the poller."""
        self.state = State.CLOSED
        self.received = b""
        self.end_body()
        entry = self.take_entry()
        outgoing, self.outgoing = self.outgoing, None
        with suppress(OSError):
            if outgoing is None:
                self.sock.close()
            else:
                outgoing.close()
                # It has broken off: a close_notify would say that it is whole, where nothing else
                # marks its end (RFC 9112 section 9.8).
                os.close(self.sock.detach())
        if entry is not None and outgoing is not None and outgoing.status:
            # The client has left in the middle of the response.
            entry.write(outgoing.status, outgoing.body_sent)
