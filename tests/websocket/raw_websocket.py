"""A WebSocket client that does only what a test tells it: it splits, delays, breaks and resets.

It has no protocol state of its own, so that it can send what no well-behaved client would.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from typing import TYPE_CHECKING, Self

from tests.http.raw_http import wrap

if TYPE_CHECKING:
    import ssl

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the sample of RFC 6455 section 1.3, and what answers it
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

PATIENCE = 20.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame from the server."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F


def request_head(path: str = "/", headers: dict[str, str] | None = None, **replace: str) -> bytes:
    """Return a handshake; ``replace`` gives other values (or ``""`` for none) to its headers."""
    fields = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields.update({name.replace("_", "-"): value for name, value in replace.items()})
    fields.update(headers or {})
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value]
    return f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    """Return a frame as a client sends it."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    flag = 0x80 if mask else 0
    length = len(payload)
    if length < 126:
        head += bytes([flag | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", flag | 126, length)
    else:
        head += struct.pack("!BQ", flag | 127, length)
    if not mask:
        return head + payload
    key = b"\x12\x34\x56\x78"
    return head + key + xor(payload, key)


def xor(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 section 5.3)."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return masked.to_bytes(len(payload), "big")


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


class RawWebSocket:
    """One TCP connection to a server."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        receive_buffer: int | None = None,
        source: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.socket(
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM
        )
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = wrap(self.socket, context)
        self._unread = b""

    @classmethod
    def open(
        cls,
        address: tuple[str, int],
        *,
        receive_buffer: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Self:
        """Connect and do the opening handshake."""
        client = cls(address, receive_buffer=receive_buffer, context=context)
        client.upgrade()
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def __del__(self) -> None:
        """Close the socket with the client that it belongs to."""
        self.socket.close()

    def upgrade(self, path: str = "/") -> None:
        """Do the opening handshake."""
        self.send(request_head(path))
        status, headers = self.read_response_head()
        assert status == 101, headers
        assert headers["sec-websocket-accept"] == ACCEPT

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def dribble(self, data: bytes) -> None:
        """Send every byte in a segment of its own."""
        for byte in data:
            self.send(bytes([byte]))

    def send_text(self, text: str) -> None:
        self.send(frame(TEXT, text.encode()))

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        self.send(frame(CLOSE, close_payload(code, reason)))

    def read_response_head(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers, in lower case."""
        while b"\r\n\r\n" not in self._unread:
            self._fill()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(status_line.split(" ")[1]), headers

    def read_frame(self) -> Frame:
        first, length = self._read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        return Frame(first, self._read(length))

    def read_text(self) -> str:
        received = self.read_frame()
        assert received.first == 0x80 | TEXT, received
        return received.payload.decode()

    def read_close(self) -> tuple[int, str]:
        """Return code and reason of the CLOSE frame that must come now."""
        received = self.read_frame()
        assert received.first == 0x80 | CLOSE, received
        (code,) = struct.unpack("!H", received.payload[:2])
        return code, received.payload[2:].decode()

    def read_until_close(self) -> tuple[int, int]:
        """Read on: the number of frames before the CLOSE frame, and its code."""
        count = 0
        while (received := self.read_frame()).opcode != CLOSE:
            count += 1
        return count, struct.unpack("!H", received.payload[:2])[0]

    def read_end(self) -> bytes:
        """Return what still comes before the server's FIN."""
        while True:
            try:
                self._fill()
            except EOFError:
                rest, self._unread = self._unread, b""
                return rest

    def half_close(self) -> None:
        """Send a FIN, and read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection without a word."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def _read(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._fill()
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError
        self._unread += data
