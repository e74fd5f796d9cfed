"""The side under test: handy_ws over a real socket, and what can be seen of it on the wire.

The server sends every message back, so the client sees what was understood. It reads until the end
of the connection, with a parser of its own that is strict about the server's bytes: they too may be
wrong. What is compressed it inflates with Python's zlib, in one context for the whole connection
where that was agreed on.
"""

from __future__ import annotations

import contextlib
import socket
import zlib
from typing import TYPE_CHECKING

from handy_ws import (
    CompressionConfig,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.differential.compressor import TAIL
from tests.differential.outcome import BINARY_KIND, NO_STATUS, TEXT_KIND, Close, Message, Outcome
from tests.differential.streams import LARGE_LIMIT, SMALL_LIMIT
from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    KEY,
    PATIENCE,
    PONG,
    TEXT,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import WebSocketBinaryMessage, WebSocketTextMessage

    from tests.differential.agreements import Agreement, Deflate
    from tests.differential.streams import Stream

Address = tuple[str, int]


COMPRESSION = {
    "/plain": None,
    "/alone": CompressionConfig(threshold=16),
    "/takeover": CompressionConfig(level=6, threshold=0, context_takeover=True),
    "/small": CompressionConfig(level=9, threshold=1, context_takeover=True, window_bits=9),
}


class Echo(WebSocketMessageHandler):
    """Answers every message with itself."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        payload = message.payload
        message.connection.send_text(payload, compress=may_compress(payload))

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        payload = message.payload
        message.connection.send_binary(payload, compress=may_compress(payload))


def may_compress(payload: str | bytes) -> bool:
    """Whether the echo of this may be compressed: one of five may not."""
    return len(payload) % 5 != 1


class Servers:
    """A server for each limit, and what plays a stream to the right one."""

    def __init__(self, handler: WebSocketMessageHandler) -> None:
        self._handler = handler
        self._servers: dict[int, HttpServer] = {}

    def start(self) -> None:
        for limit in (SMALL_LIMIT, LARGE_LIMIT):
            paths = PathHandler()
            for path, compression in COMPRESSION.items():
                paths.add(path, WebSocketHandler(self._handler, compression=compression))
            # All is sent before anything is read, so much may have to wait.
            websocket = WebSocketConfig(max_message_size=limit, send_queue_limit=64 << 20)
            config = ServerConfig(port=0, workers=2, websocket=websocket)
            self._servers[limit] = HttpServer(paths, config)
            self._servers[limit].start_in_thread()

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()

    def begin(self, stream: Stream) -> Exchange:
        """Send a stream, to be finished later."""
        return Exchange(self._servers[stream.limit].address, stream)

    def play(self, stream: Stream) -> Outcome:
        """Send a stream and return what comes of it."""
        return self.begin(stream).finish()


@contextlib.contextmanager
def running(handler: WebSocketMessageHandler | None = None) -> Iterator[Servers]:
    """Yield servers that run, with a handler that echoes unless it is told."""
    servers = Servers(handler or Echo())
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


class Exchange:
    """One connection: all of a stream is sent first, then all of the answer is read."""

    def __init__(self, address: Address, stream: Stream) -> None:
        self._agreement = stream.agreement
        self._socket = socket.create_connection(address, timeout=PATIENCE)
        self._fault = ""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            start = 0
            pending = _request(stream.agreement)
            for end in (*stream.cuts, len(stream.data)):
                self._socket.sendall(pending + stream.data[start:end])
                pending, start = b"", end
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            # A server lingers: nothing that is sent to it may meet a closed socket.
            self._fault = f"while sending: {error!r}"

    def finish(self) -> Outcome:
        """Read until the end."""
        received = bytearray()
        with self._socket:
            try:
                while data := self._socket.recv(1 << 18):
                    received += data
            except OSError as error:
                self._fault = self._fault or f"while reading: {error!r}"
        return parse_answer(bytes(received), self._agreement, self._fault)


def _request(agreement: Agreement) -> bytes:
    offer = f"Sec-WebSocket-Extensions: {agreement.offer}\r\n" if agreement.offer else ""
    return (
        f"GET {agreement.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        f"{offer}\r\n"
    ).encode()


def parse_answer(received: bytes, agreement: Agreement, fault: str = "") -> Outcome:
    """Return the outcome that a server's bytes show, the 101 response included."""
    head, _, rest = received.partition(b"\r\n\r\n")
    reader = _AnswerReader(agreement.deflate)
    try:
        _check_head(head, agreement)
        reader.read(rest)
    except _FaultError as error:
        fault = fault or str(error)
    return Outcome(
        tuple(reader.messages), tuple(reader.pongs), reader.close, fault, reader.compressed
    )


class _FaultError(Exception):
    """The server's bytes are wrong."""


def _require(condition: object, fault: str) -> None:
    if not condition:
        raise _FaultError(fault)


def _check_head(head: bytes, agreement: Agreement) -> None:
    status, *lines = head.decode("latin-1").split("\r\n")
    _require(status == "HTTP/1.1 101 Switching Protocols", f"status {status!r}")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    answer = fields.get("sec-websocket-extensions", "")
    _require(answer == agreement.answer, f"agreed on {answer!r}")


class _AnswerReader:
    """Reads the server's frames (RFC 6455 section 5.2, RFC 7692 section 7.2.2)."""

    def __init__(self, deflate: Deflate | None) -> None:
        self.messages: list[Message] = []
        self.pongs: list[bytes] = []
        self.close: Close | None = None
        self.compressed = 0
        self._inflater = _Inflater(deflate) if deflate else None

    def read(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            _require(self.close is None, "bytes behind the CLOSE frame")
            first, payload, position = _frame(data, position)
            _require(first & 0xB0 == 0x80, f"first byte {first:#04x}")
            self._take(first & 0x0F, bool(first & 0x40), payload)

    def _take(self, opcode: int, compressed: bool, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            self._take_message(opcode, compressed, payload)
            return
        _require(not compressed, "RSV1 in a control frame")
        if opcode == PONG:
            _require(len(payload) < 126, "a pong is too long")
            self.pongs.append(payload)
        elif opcode == CLOSE:
            self.close = _close(payload)
        else:
            raise _FaultError(f"opcode {opcode}")

    def _take_message(self, opcode: int, compressed: bool, payload: bytes) -> None:
        if compressed:
            if self._inflater is None:
                raise _FaultError("RSV1 without an agreement")
            payload = self._inflater.inflate(payload)
            self.compressed += 1
        text = _decoded(payload) if opcode == TEXT else None
        may_be = may_compress(payload if text is None else text)
        _require(may_be or not compressed, "compressed against the wish of the program")
        self.messages.append((BINARY_KIND if text is None else TEXT_KIND, payload))


def _frame(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return first byte, payload and end of the frame there."""
    _require(at + 2 <= len(data), "the connection ends inside of a header")
    first, length = data[at], data[at + 1]
    start = at + 2
    _require(length < 128, "a masked frame")
    if length > 125:
        start += 2 if length == 126 else 8
        least = 126 if length == 126 else 1 << 16
        length = int.from_bytes(data[at + 2 : start], "big")
        _require(least <= length, "a length that is not minimal")
    end = start + length
    _require(end <= len(data), "the connection ends inside of a frame")
    return first, data[start:end], end


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_STATUS, b"")
    _require(2 <= len(payload) <= 125, f"a CLOSE frame of {len(payload)} bytes")
    _decoded(payload[2:])
    return Close(int.from_bytes(payload[:2], "big"), payload[2:])


def _decoded(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise _FaultError(str(error)) from None


class _Inflater:
    """Inflates the server's messages, in the window that it has promised to keep to."""

    def __init__(self, deflate: Deflate) -> None:
        self._bits = deflate.server_bits
        self._takeover = deflate.server_takeover
        self._inflater = zlib.decompressobj(-self._bits)

    def inflate(self, payload: bytes) -> bytes:
        if not self._takeover:
            self._inflater = zlib.decompressobj(-self._bits)
        try:
            plain = self._inflater.decompress(payload + TAIL)
            _require(not self._inflater.eof, "a final block")
            # Behind a whole block another one can follow: a final block that is empty.
            end = self._inflater.copy()
            end.decompress(b"\x03\x00")
        except zlib.error as error:
            raise _FaultError(f"bad DEFLATE: {error}") from None
        _require(end.eof and not end.unused_data, "a message ends inside of a block")
        return plain
