"""Handshakes and frames as bytes (RFC 6455 sections 4 and 5, RFC 7692 section 7).

`FrameCounter` is the busy part: it sees every byte that a server sends under load. It reads
headers and skips payloads, wherever the reads may have cut them.
"""

from __future__ import annotations

import struct

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "TEXT",
    "FrameCounter",
    "ProtocolError",
    "close_code",
    "frame",
    "parse_header",
    "parse_response",
    "request_head",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3

_FIN, _RSV1, _MASKED = 0x80, 0x40, 0x80
_FIRST_CONTROL_OPCODE = 8
_LENGTH_16, _LENGTH_64 = 126, 127
_MASK = b"\x12\x34\x56\x78"
_SWITCHING_PROTOCOLS = "101"


class ProtocolError(Exception):
    """The server has sent something that it should not, or has gone."""


def request_head(offer: str) -> bytes:
    """Return an opening handshake; an empty `offer` offers no extension."""
    extensions = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
    return (
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    ).encode("ascii")


def parse_response(head: bytes) -> str:
    """Return what the server has agreed on: the value of its Sec-WebSocket-Extensions.

    Raises:
        ProtocolError: it has not accepted the handshake.
    """
    status_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    accepted = headers.get("sec-websocket-accept") == ACCEPT
    if status_line.split(" ")[1:2] != [_SWITCHING_PROTOCOLS] or not accepted:
        raise ProtocolError(f"the handshake was refused: {head!r}")
    return headers.get("sec-websocket-extensions", "")


def frame(opcode: int, payload: bytes, *, compressed: bool = False, fin: bool = True) -> bytes:
    """Return a masked frame; `compressed` sets RSV1, for a first frame with deflated data."""
    first = (_FIN if fin else 0) | (_RSV1 if compressed else 0) | opcode
    length = len(payload)
    if length < _LENGTH_16:
        header = struct.pack("!BB", first, _MASKED | length)
    elif length < 1 << 16:
        header = struct.pack("!BBH", first, _MASKED | _LENGTH_16, length)
    else:
        header = struct.pack("!BBQ", first, _MASKED | _LENGTH_64, length)
    return header + _MASK + _masked(payload)


def _masked(payload: bytes) -> bytes:
    mask = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    bits = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return bits.to_bytes(len(payload), "big")


def parse_header(data: bytes, position: int = 0) -> tuple[int, int, int] | None:
    """Read the header of a server's frame.

    Returns:
        The first byte, where the payload begins in `data`, and its length; ``None`` if the header
        is not all there yet.

    Raises:
        ProtocolError: the frame is masked, which only a client's may be.
    """
    start = position + 2
    if len(data) < start:
        return None
    first, length = data[position], data[position + 1]
    if length & _MASKED:
        raise ProtocolError("the server has masked a frame")
    if length >= _LENGTH_16:
        size = 2 if length == _LENGTH_16 else 8
        if len(data) < start + size:
            return None
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    return first, start, length


def close_code(payload: bytes) -> int:
    """Return the code in a CLOSE frame's payload; 1005 stands for none."""
    return int.from_bytes(payload[:2], "big") if payload else 1005


class FrameCounter:
    """Counts the messages that have come completely, looking at nothing but the frames' headers."""

    __slots__ = ("_ends_message", "_left", "_unread")

    def __init__(self) -> None:
        self._unread = b""  # a header that is not complete
        self._left = -1  # bytes of the current payload that are still to come; -1: no payload
        self._ends_message = False

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing is half there."""
        return self._left < 0 and not self._unread

    def feed(self, data: bytes) -> int:
        """Return how many messages end in `data`.

        Raises:
            ProtocolError: the server has sent a CLOSE or a masked frame.
        """
        position = messages = 0
        if self._unread:
            data, self._unread = self._unread + data, b""
        while True:
            if self._left >= 0:
                if len(data) - position < self._left:
                    self._left -= len(data) - position
                    return messages
                position += self._left
                self._left = -1
                messages += self._ends_message
            header = parse_header(data, position)
            if header is None:
                self._unread = data[position:]
                return messages
            first, position, self._left = header
            self._ends_message = first >= _FIN and first & 0x0F < _FIRST_CONTROL_OPCODE
            if first & 0x0F == CLOSE:
                raise ProtocolError("the server closes the connection")
