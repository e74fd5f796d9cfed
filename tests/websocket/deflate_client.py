"""A raw client that has agreed on permessage-deflate, with zlib on its side (RFC 7692)."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Self

from tests.websocket.raw_websocket import (
    BINARY,
    CONTINUATION,
    TEXT,
    Frame,
    RawWebSocket,
    frame,
    request_head,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
OFFER = "permessage-deflate; client_max_window_bits"


class DeflateClient(RawWebSocket):
    """Keeps a history if, and only if, that was agreed on."""

    extensions: str
    _takeover: bool
    _window_bits: int

    @classmethod
    def offer(cls, address: tuple[str, int], offer: str = OFFER, path: str = "/") -> Self:
        """Connect, and agree on compression."""
        client = cls(address)
        client.send(request_head(path, {"Sec-WebSocket-Extensions": offer}))
        status, headers = client.read_response_head()
        assert status == 101, headers
        client.extensions = headers.get("sec-websocket-extensions", "")
        client._takeover = "server_no_context_takeover" not in client.extensions
        # Strict: a window of 9 bits makes zlib refuse what refers further back.
        bits = re.search(r"server_max_window_bits=(\d+)", client.extensions)
        client._window_bits = int(bits[1]) if bits else 15
        client._inflater = zlib.decompressobj(-client._window_bits)
        return client

    def read_message(self) -> tuple[int, bytes, bool]:
        """Return the opcode and the payload of the next message, and whether it was compressed."""
        received = self.read_frame()
        if not received.first & RSV1 << 4:
            return received.opcode, received.payload, False
        return received.opcode, self.inflate(received), True

    def inflate(self, received: Frame) -> bytes:
        assert received.first & 0xF0 == 0xC0, "FIN and RSV1"
        if not self._takeover:
            self._inflater = zlib.decompressobj(-self._window_bits)
        payload = self._inflater.decompress(received.payload + TAIL)
        assert not self._inflater.unconsumed_tail
        assert not self._inflater.unused_data
        return payload


def deflate(message: bytes, level: int = 6) -> bytes:
    """Return the payload of a message that refers to no other."""
    compressor = zlib.compressobj(level, wbits=-15)
    payload = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert payload.endswith(TAIL)
    return payload[:-4]


def compressed(message: str | bytes, level: int = 6) -> bytes:
    """Return a message in one frame."""
    if isinstance(message, str):
        return frame(TEXT, deflate(message.encode(), level), rsv=RSV1)
    return frame(BINARY, deflate(message, level), rsv=RSV1)


def fragments(payload: bytes, size: int) -> Iterator[bytes]:
    """Cut a compressed binary message into frames of this size."""
    for start in range(0, len(payload), size):
        yield frame(
            CONTINUATION if start else BINARY,
            payload[start : start + size],
            fin=start + size >= len(payload),
            rsv=0 if start else RSV1,
        )
