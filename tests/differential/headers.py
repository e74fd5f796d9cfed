"""An independent judge of frame headers (RFC 6455 section 5.2), byte after byte.

A server that knows after one byte that a frame is wrong need not wait for the second one. The
references are not so strict: they judge a header when it is whole, or the frame when it is whole,
and that shows when a stream ends early or has two errors. So this module says where the first wrong
header is. It looks at nothing but headers and the payload of a CLOSE frame, behind which nothing is
read; it knows neither UTF-8 nor DEFLATE.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from tests.differential.outcome import MESSAGE_TOO_BIG, PROTOCOL_ERROR
from tests.websocket.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, xor

_OPCODES = {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}
_CONTROL = {CLOSE, PING, PONG}


class Kind(enum.Enum):
    """What is wrong with a header."""

    RESERVED_BITS = enum.auto()
    OPCODE = enum.auto()
    FRAGMENTED_CONTROL = enum.auto()
    ORDER = enum.auto()
    NOT_MASKED = enum.auto()
    CONTROL_LENGTH = enum.auto()
    NOT_MINIMAL = enum.auto()
    SIGN_BIT = enum.auto()
    TOO_BIG = enum.auto()


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is whole and right. Its payload is ``data[payload:end]``, if that has come."""

    start: int
    payload: int
    end: int
    first: int
    key: bytes
    opens: bool  # the message of this data frame begins with it

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def fin(self) -> bool:
        return self.first >= 0x80

    @property
    def compressed(self) -> bool:
        return bool(self.first & 0x40)

    @property
    def is_control(self) -> bool:
        return self.opcode in _CONTROL

    def unmasked(self, data: bytes) -> bytes:
        """Return what has come of the payload."""
        return xor(data[self.payload : self.end], self.key)


@dataclass(frozen=True, slots=True)
class Violation:
    """The first wrong header: where its frame starts, and where the wrong byte ends."""

    start: int
    end: int
    kind: Kind

    @property
    def code(self) -> int:
        """The close code of the answer."""
        return MESSAGE_TOO_BIG if self.kind is Kind.TOO_BIG else PROTOCOL_ERROR


@dataclass(frozen=True, slots=True)
class Judgement:
    """All right headers up to the first wrong one, to the first CLOSE frame, or to the end."""

    headers: tuple[Header, ...]
    violation: Violation | None

    @property
    def last(self) -> Header | None:
        return self.headers[-1] if self.headers else None


def head(first: int, length: int, key: bytes) -> bytes:
    """Return the header of a client's frame, with the shortest length."""
    if length < 126:
        return struct.pack("!BB", first, 0x80 | length) + key
    if length < 1 << 16:
        return struct.pack("!BBH", first, 0x80 | 126, length) + key
    return struct.pack("!BBQ", first, 0x80 | 127, length) + key


def _most_on_wire(limit: int) -> int:
    """Return how many compressed bytes may come for so many plain ones.

    No RFC says it. DEFLATE makes longer what it cannot compress, and handy_ws allows for that and
    for some waste.
    """
    return limit + limit // 8 + 1024


class _WrongError(Exception):
    def __init__(self, kind: Kind, end: int) -> None:
        super().__init__(kind)
        self.kind = kind
        self.end = end


def judge(data: bytes, limit: int, *, deflate: bool) -> Judgement:
    """Judge the headers of a client's stream; ``deflate`` gives RSV1 its meaning."""
    walker = _Walker(data, limit, deflate=deflate)
    headers: list[Header] = []
    while True:
        start = walker.position
        try:
            header = walker.header()
        except _WrongError as error:
            return Judgement(tuple(headers), Violation(start, error.end, error.kind))
        if header is None:
            return Judgement(tuple(headers), None)
        headers.append(header)
        if header.end > len(data) or header.opcode == CLOSE:
            return Judgement(tuple(headers), None)


class _Walker:
    def __init__(self, data: bytes, limit: int, *, deflate: bool) -> None:
        self.position = 0
        self._data = data
        self._limit = limit
        self._deflate = deflate
        self._open_size: int | None = None  # what the frames of the open message have announced
        self._open_limit = limit

    def header(self) -> Header | None:
        """Return the next header, None if the stream ends first."""
        start, data = self.position, self._data
        if start == len(data):
            return None
        first = data[start]
        opcode, opens = first & 0x0F, self._open_size is None
        self._judge_first(first, start + 1)
        if start + 1 == len(data):
            return None
        position = self._judge_second(opcode, start + 1)
        length = self._length(start + 1, position)
        if length is None:
            return None
        if opens and opcode not in _CONTROL:
            self._open_limit = _most_on_wire(self._limit) if first & 0x40 else self._limit
        self._judge_size(opcode, length, position)
        key = data[position : position + 4]
        if len(key) < 4:
            return None
        self.position = position + 4 + length
        if opcode not in _CONTROL:
            self._open_size = None if first >= 0x80 else (self._open_size or 0) + length
        return Header(start, position + 4, self.position, first, key, opens)

    def _judge_first(self, first: int, end: int) -> None:
        opcode = first & 0x0F
        allowed = 0x40 if self._deflate and opcode in (TEXT, BINARY) else 0
        if first & 0x70 & ~allowed:
            raise _WrongError(Kind.RESERVED_BITS, end)
        if opcode not in _OPCODES:
            raise _WrongError(Kind.OPCODE, end)
        if opcode in _CONTROL:
            if first < 0x80:
                raise _WrongError(Kind.FRAGMENTED_CONTROL, end)
        elif (opcode == CONTINUATION) != (self._open_size is not None):
            raise _WrongError(Kind.ORDER, end)

    def _judge_second(self, opcode: int, at: int) -> int:
        """Return where the length ends."""
        second = self._data[at]
        if second < 0x80:
            raise _WrongError(Kind.NOT_MASKED, at + 1)
        short = second & 0x7F
        if opcode in _CONTROL and short > 125:
            raise _WrongError(Kind.CONTROL_LENGTH, at + 1)
        return at + 1 + {126: 2, 127: 8}.get(short, 0)

    def _length(self, at: int, end: int) -> int | None:
        short = self._data[at] & 0x7F
        if short < 126:
            return short
        if end > len(self._data):
            return None
        length = int.from_bytes(self._data[at + 1 : end], "big")
        if length >> 63:
            raise _WrongError(Kind.SIGN_BIT, end)
        if length < (126 if short == 126 else 1 << 16):
            raise _WrongError(Kind.NOT_MINIMAL, end)
        return length

    def _judge_size(self, opcode: int, length: int, end: int) -> None:
        if opcode not in _CONTROL and (self._open_size or 0) + length > self._open_limit:
            raise _WrongError(Kind.TOO_BIG, end)
