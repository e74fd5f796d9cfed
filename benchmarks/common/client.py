"""A client that blocks, for everything but the load itself.

It makes the handshake, remembers what was agreed on, and reads whole messages, which it inflates:
that is how the programs convince themselves that a server does what it is measured for.
"""

from __future__ import annotations

import dataclasses
import re
import socket
import zlib
from typing import TYPE_CHECKING, Self

from benchmarks.common.payloads import deflate, inflate
from benchmarks.common.wire import (
    CLOSE,
    TEXT,
    ProtocolError,
    close_code,
    frame,
    parse_header,
    parse_response,
    request_head,
)

if TYPE_CHECKING:
    from benchmarks.common.certificates import Certificate

__all__ = ["Client", "Message"]

_PATIENCE = 60.0
_READ_SIZE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of the server, inflated if it was compressed."""

    opcode: int
    payload: bytes
    compressed: bool
    wire_size: int  # bytes of payload on the wire

    @property
    def close_code(self) -> int | None:
        """The code, if this is a CLOSE frame."""
        return close_code(self.payload) if self.opcode == CLOSE else None


class Client:
    """One connection; ends with the ``with`` block.

    Args:
        address: of the server.
        offer: the value of Sec-WebSocket-Extensions; empty for none.
        tls: the server's certificate, if it speaks TLS.
    """

    def __init__(
        self, address: tuple[str, int], offer: str = "", tls: Certificate | None = None
    ) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap(self.socket)
        self._unread = b""
        self.socket.sendall(request_head(offer))
        head, self._unread = self._read_head()
        self.extensions = parse_response(head)
        bits = re.search(r"client_max_window_bits=(\d+)", self.extensions)
        self.window_bits = int(bits[1]) if bits else 15
        self._forgets = "server_no_context_takeover" in self.extensions
        self._decompressor = zlib.decompressobj(-15)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the socket."""
        self.socket.close()

    @property
    def is_between_messages(self) -> bool:
        """Whether everything that has come was read."""
        return not self._unread

    def text_frame(self, payload: bytes, *, compress: bool = True) -> bytes:
        """Return a text message as a frame: compressed, if that was agreed on and is wanted."""
        if compress and self.extensions:
            compressed = deflate(payload, window_bits=self.window_bits)
            return frame(TEXT, compressed, compressed=True)
        return frame(TEXT, payload)

    def read_message(self) -> Message:
        """Wait for the next message or CLOSE frame, and return it.

        Raises:
            ProtocolError: the server has sent nonsense, or the connection has ended.
        """
        parts: list[bytes] = []
        opcode, compressed = None, False
        while True:
            first, payload = self._read_frame()
            if first & 0x0F > CLOSE:
                continue
            if opcode is None:
                opcode, compressed = first & 0x0F, bool(first & 0x40)
            elif first & 0x0F == CLOSE:
                opcode, compressed, parts = CLOSE, False, []
            parts.append(payload)
            if first & 0x80:
                break
        wire = b"".join(parts)
        payload = self._inflate(wire) if compressed else wire
        return Message(opcode, payload, compressed, len(wire))

    def echo(self, frames: bytes) -> Message:
        """Send frames and return what comes next."""
        self.socket.sendall(frames)
        return self.read_message()

    def close(self) -> None:
        """Do the closing handshake and wait for the end, so that the server has nothing to log."""
        self.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        while self.socket.recv(_READ_SIZE):
            pass
        self.socket.close()

    def _inflate(self, wire: bytes) -> bytes:
        if not self.extensions:
            raise ProtocolError("compressed, although that was not agreed on")
        if self._forgets:
            self._decompressor = zlib.decompressobj(-15)
        return inflate(self._decompressor, wire)

    def _read_head(self) -> tuple[bytes, bytes]:
        while b"\r\n\r\n" not in self._unread:
            self._fill()
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        return head, rest

    def _read_frame(self) -> tuple[int, bytes]:
        while (header := parse_header(self._unread)) is None:
            self._fill()
        first, start, length = header
        while len(self._unread) < start + length:
            self._fill()
        payload = self._unread[start : start + length]
        self._unread = self._unread[start + length :]
        return first, payload

    def _fill(self) -> None:
        data = self.socket.recv(_READ_SIZE)
        if not data:
            raise ProtocolError("the server has closed the connection")
        self._unread += data
