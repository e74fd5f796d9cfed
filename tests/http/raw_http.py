"""An HTTP client made of a plain socket, or of one with TLS, which does only what it is told.

It sends bytes as they are given, in pieces if so asked, reads responses one at a time, and never
waits without a deadline.
"""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from typing import Self

DEADLINE = 10.0
"""Seconds after which a wait has failed."""


@dataclass
class Response:
    """A response as it came over the wire, with the chunks put together."""

    status: int
    phrase: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """Return the value of a field that may come once at most."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class RawClient:
    """One connection to a server."""

    def __init__(
        self,
        address: tuple[str, int] | str | bytes,
        *,
        receive_buffer: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.sock = socket.socket(_family(address))
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(DEADLINE)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.sock = wrap(self.sock, context)
        self.received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def read_fast(self) -> None:
        """Have the system receive in large pieces, if it did in small ones."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)

    def send(self, data: bytes | bytearray) -> None:
        self.sock.sendall(data)

    def request(self, data: bytes, method: str = "GET") -> Response:
        """Send bytes and return the response to them."""
        self.send(data)
        return self.response(method)

    def get(self, target: str = "/", *fields: str) -> Response:
        """Send a plain GET and return the response."""
        return self.request(get(target, *fields))

    def response(self, method: str = "GET") -> Response:
        """Read one response."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        lines = head[:-4].split("\r\n")
        version, status, phrase = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        response = Response(int(status), phrase)
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            response.headers.append((name, value))
        response.body = self._body(response, method)
        return response

    def _body(self, response: Response, method: str) -> bytes:
        if method == "HEAD" or response.status < 200 or response.status in {204, 304}:
            return b""
        length = response.get("Content-Length")
        if length is not None:
            assert response.get("Transfer-Encoding") is None
            return self.exactly(int(length))
        if response.get("Transfer-Encoding") == "chunked":
            return self._chunks()
        return self.to_end()

    def _chunks(self) -> bytes:
        chunks = []
        while size := int(self.until(b"\r\n"), 16):
            chunks.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n"
        return b"".join(chunks)

    def until(self, mark: bytes) -> bytes:
        """Read up to and with `mark`."""
        while mark not in self.received:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.received)
            self.received += data
        end = self.received.index(mark) + len(mark)
        taken, self.received = self.received[:end], self.received[end:]
        return taken

    def exactly(self, count: int) -> bytes:
        """Read `count` bytes."""
        pieces = [self.received]
        length = len(self.received)
        while length < count:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(b"".join(pieces)[-1000:])
            pieces.append(data)
            length += len(data)
        data = b"".join(pieces)
        taken, self.received = data[:count], data[count:]
        return taken

    def to_end(self) -> bytes:
        """Read until the server closes, and return all that came."""
        pieces = [self.received]
        self.received = b""
        while data := self.sock.recv(65536):
            pieces.append(data)
        return b"".join(pieces)

    def is_open(self) -> bool:
        """Look whether nothing has come, neither a byte nor the end."""
        return not select.select([self.sock], [], [], 0)[0]

    def is_closed(self) -> bool:
        """Wait for the server to close the connection without another byte."""
        try:
            return self.received == b"" and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def _family(address: tuple[str, int] | str | bytes) -> socket.AddressFamily:
    if not isinstance(address, tuple):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def wrap(
    sock: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Do the TLS handshake; the end of the connection without a close_notify is an error then."""
    return context.wrap_socket(
        sock, server_hostname="localhost", suppress_ragged_eofs=False, session=session
    )


def get(target: str = "/", *fields: str) -> bytes:
    """Return the bytes of a GET request with extra header fields."""
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(target: str, body: bytes, *fields: str) -> bytes:
    """Return the bytes of a POST request with its length."""
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body
