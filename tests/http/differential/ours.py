"""A stream as handy_ws reads it, without sockets and threads: every cut is where it was put.

This is what `handy_ws.http.waiting` and `handy_ws.http.worker` do with the bytes of a connection,
and nothing else of it. That they really do the same is checked with a server: `server.py`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, cast

# Their functions are looked up at each call: `mutants.py` replaces some.
from handy_ws.http import body as bodies
from handy_ws.http import connection as connections
from handy_ws.http import head as heads
from handy_ws.http.body import waits_for_continue
from handy_ws.http.head import BadRequest

from tests.http.differential.limits import MAX_BODY_SIZE, MAX_HEAD_SIZE, MAX_HEADER_COUNT
from tests.http.differential.outcome import End, Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handy_ws.http.body import RequestBody
    from handy_ws.http.head import RequestHead
    from handy_ws.http.stream import PlainStream

_READ: Final = 8 * 1024  # what is read at a time while a head is waited for


def read(data: bytes, cuts: Sequence[int] = ()) -> Outcome:
    """Return what handy_ws makes of a stream that comes in pieces."""
    reader = _Reader()
    for begin, end in pairwise(sorted({0, *cuts, *range(0, len(data), _READ), len(data)})):
        reader.receive(data[begin:end])
        if reader.end is not None:
            break
    return reader.outcome()


def seen(head: RequestHead, body: bytes) -> Request:
    """Return a request as it is handed to a handler."""
    fields = [(name.encode(), value.encode("latin-1")) for name, value in head.headers]
    return Request(
        head.method.encode(),
        head.target.encode(),
        head.version.encode(),
        # h11 hands this one out in lower case.
        tuple((k, v.lower() if k == b"transfer-encoding" else v) for k, v in fields),
        body,
    )


class _Reader:
    """One connection."""

    def __init__(self) -> None:
        self.end: End | None = None
        self._status = 0
        self._requests: list[Request] = []
        self._connection = connections.Connection(cast("PlainStream", None), ("", 0))
        self._head: RequestHead | None = None
        self._body: RequestBody | None = None

    def outcome(self) -> Outcome:
        """Return what has come of it when there is nothing more."""
        if self._body is not None:
            self._body.close()
        waits = self._body is None and not self._connection.received
        end = self.end or (End.COMPLETE if waits else End.INCOMPLETE)
        return Outcome(tuple(self._requests), end, self._status)

    def receive(self, data: bytes) -> None:
        """Take a piece."""
        try:
            if self._body is None:
                self._connection.append(data)
            else:
                self._go_on(self._body.feed(data))
            while self._connection.received and self.end is None and self._body is None:
                if not self._found_head():
                    break
        except BadRequest as error:
            self.end, self._status = End.REFUSED, error.status

    def _found_head(self) -> bool:
        connection = self._connection
        if connection.received[0] in b"\r\n":
            connection.skip_empty_lines()
        received = connection.received
        end = heads.find_head_end(received, connection.scanned, MAX_HEAD_SIZE)
        if not end:
            connection.scanned = len(received)
            return False
        connection.scanned = 0
        head = self._head = heads.parse_head(bytes(received[:end]), MAX_HEADER_COUNT)
        connection.received = bytes(received[end:])
        waits_for_continue(head)
        body = self._body = bodies.body_of(head, MAX_BODY_SIZE)
        if body is None:
            self._go_on(connection.received)
        else:
            received, connection.received = connection.received, b""
            self._go_on(body.feed(received))
        return True

    def _go_on(self, rest: bytes | bytearray | None) -> None:
        """Hand the request out if its body is whole."""
        if rest is None:
            return
        assert self._head is not None
        data = b""
        if self._body is not None:
            data = self._body.open().read()
            self._body.close()
            self._body = None
        self._requests.append(seen(self._head, data))
        self._connection.received = rest
        if not self._head.keeps_alive:
            self.end = End.CLOSED
