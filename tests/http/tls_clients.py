"""TLS clients with Python's `ssl`.

One whose records a test can hold back, cut up, damage and join: `ssl` does the cryptography in
memory, and the bytes go through a `RawClient`. And one that resumes its sessions.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.http.raw_http import RawClient, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from handy_ws import HttpServer


class Engine:
    """One TLS session, and the TCP connection that it is for.

    Attributes:
        is_over: whether the handshake is, for the client.
    """

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        self.raw = RawClient(address)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.sock.close()

    def send(self, data: bytes | bytearray) -> None:
        self.raw.send(data)

    def flights(self) -> Iterator[bytes]:
        """Yield what the client says in the handshake, each time that it is its turn.

        It is for the test to send it, before it asks for the next one. When it is over the
        client may go on at once: in TLS 1.3 it has had the last word.
        """
        yield self._flight()
        while not self.is_over:
            self.feed()
            yield self._flight()

    def shake(self) -> None:
        """Do the whole handshake."""
        for flight in self.flights():
            self.send(flight)

    def _flight(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self.session.do_handshake()
            self.is_over = True
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Return the records for some plaintext."""
        self.session.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Return the records that say that no more will come."""
        with suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        return self._outgoing.read()

    def read(self) -> bytes:
        """Return the next plaintext from the server, b"" if it says that there is no more."""
        while True:
            try:
                return self.session.read(65536)
            except ssl.SSLWantReadError:
                self.feed()
            except ssl.SSLZeroReturnError:
                return b""

    def until(self, mark: bytes) -> bytes:
        """Read up to a mark, with what came behind it."""
        received = b""
        while mark not in received:
            data = self.read()
            if not data:
                raise EOFError(received)
            received += data
        return received

    def feed(self) -> None:
        """Read something from the network."""
        data = self.raw.sock.recv(65536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class Visitor:
    """A client that remembers its last session, as browsers do."""

    def __init__(self, server: HttpServer, context: ssl.SSLContext) -> None:
        self.server = server
        self._context = context
        self._session: ssl.SSLSession | None = None

    def visit(self) -> tuple[bool, bytes]:
        """Ask for / on a new connection: was the session resumed, and what is the answer?"""
        with RawClient(self.server.address) as client:
            client.sock = sock = wrap(client.sock, self._context, self._session)
            body = client.get().body
            self._session = sock.session
            return bool(sock.session_reused), body


def certificate_of(client: RawClient) -> bytes:
    """Return the certificate of the server, in DER."""
    assert isinstance(client.sock, ssl.SSLSocket)
    certificate = client.sock.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def records(data: bytes) -> list[bytes]:
    """Split bytes into TLS records: RFC 8446 section 5.1."""
    found = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:size])
        data = data[size:]
    return found
