"""One request as h11 reads it: https://h11.readthedocs.io.

h11 is asked about each request of a connection by itself. What it makes of the way from one to the
next is not compared: it persists with HTTP/1.1 only, and wants to be told that a response is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import h11

from tests.http.differential.outcome import Request

_NO_LIMIT: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Reading:
    """What h11 makes of the bytes at the beginning of a stream: a request, an error, or neither."""

    request: Request | None = None
    rest: bytes = b""  # what is behind the request
    error: str = ""


def read_request(data: bytes) -> Reading:
    """Return what h11 makes of the first request in `data`, as a server."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_NO_LIMIT)
    head: h11.Request | None = None
    body = bytearray()
    if data:
        connection.receive_data(data)
    try:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage), event
                assert head is not None
                rest, _ = connection.trailing_data
                return Reading(_request(head, bytes(body)), rest)
    except h11.RemoteProtocolError as error:
        return Reading(error=str(error))
    return Reading()


def _request(head: h11.Request, body: bytes) -> Request:
    return Request(
        bytes(head.method),
        bytes(head.target),
        bytes(head.http_version),
        tuple((bytes(name), bytes(value)) for name, value in head.headers),
        body,
    )
