"""What handy_ws must make of a stream: h11's opinion, with the listed differences."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from tests.http.differential.differences import (
    DIFFERENCES,
    EMPTY_LINES,
    HOST,
    PERSISTENCE,
    SPACE,
)
from tests.http.differential.message import Message
from tests.http.differential.outcome import REFUSALS, End, Expected, Request
from tests.http.differential.reference import Reading, read_request

if TYPE_CHECKING:
    from tests.http.differential.differences import Difference


def expect(data: bytes) -> tuple[Expected, list[str]]:
    """Return what handy_ws must make of a stream, and the names of the entries that matter."""
    requests: list[Request] = []
    used: list[str] = []
    while True:
        rest = re.sub(rb"\A(?:\r\n)+", b"", data)
        if rest != data:
            used.append(EMPTY_LINES.name)
        if not rest:
            return Expected(tuple(requests), frozenset({End.COMPLETE})), used
        message = Message(rest)
        reading, applied = _read(message, used)
        if reading.request is None or applied:
            end = _end(reading, applied, used)
            begun = (message.method, message.target)
            return dataclasses.replace(end, requests=tuple(requests), begun=begun), used
        request = _with_host(reading.request, message.authority, used)
        requests.append(request)
        if not _persists(request, used):
            return Expected(tuple(requests), frozenset({End.CLOSED})), used
        data = reading.rest


def _read(message: Message, used: list[str]) -> tuple[Reading, list[Difference]]:
    """Ask h11 about one request, and see which differences apply to it."""
    asked = message.without_space_behind_sizes()
    reading = read_request(asked)
    if asked != message.data and reading.request is not None:
        used.append(SPACE.name)
    return reading, [difference for difference in DIFFERENCES if difference.applies(message)]


def _end(reading: Reading, applied: list[Difference], used: list[str]) -> Expected:
    """Return what may become of a request that is not to be handed out."""
    statuses = frozenset[int]().union(*(difference.statuses for difference in applied))
    if reading.error:
        return Expected((), frozenset({End.REFUSED, End.INCOMPLETE}), REFUSALS)
    used += [difference.name for difference in applied]
    if reading.request is not None:
        return Expected((), frozenset({End.REFUSED}), statuses)
    # What is wrong may be seen before the request is whole, but need not.
    ends = {End.INCOMPLETE, End.REFUSED} if applied else {End.INCOMPLETE}
    return Expected((), frozenset(ends), statuses)


def _with_host(request: Request, authority: bytes | None, used: list[str]) -> Request:
    if authority is None:
        return request
    fields = [field for field in request.fields if field[0] != b"host"]
    fields.append((b"host", authority))
    if fields != list(request.fields):
        used.append(HOST.name)
    return dataclasses.replace(request, fields=tuple(fields))


def _persists(request: Request, used: list[str]) -> bool:
    options = {
        option.strip(b" \t").lower()
        for name, value in request.fields
        if name == b"connection"
        for option in value.split(b",")
    }
    if b"close" in options:
        return False
    if request.version == b"1.0" and b"keep-alive" in options:
        used.append(PERSISTENCE.name)
        return True
    return request.version == b"1.1"
