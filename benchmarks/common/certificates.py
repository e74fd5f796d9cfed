"""A certificate for the servers, and what a client needs that trusts it."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import trustme

from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["Certificate", "TlsSocket", "certificate"]

_NAME = "127.0.0.1"


class TlsSocket(ssl.SSLSocket):
    """A socket with TLS that behaves like one without, as far as the benchmarks need it.

    What cannot be done at once raises the same exception, and no plaintext is left behind where a
    poll would not see it.
    """

    def recv(self, size: int = 1 << 16, flags: int = 0) -> bytes:
        """Return what has come: everything that is decrypted, which may be more than `size`."""
        try:
            data = super().recv(size, flags)
            while self.pending():
                data += super().recv(size, flags)
        except ssl.SSLWantReadError:
            _must_wait()
        return data

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        """Send what fits."""
        try:
            return super().send(data, flags)
        except ssl.SSLWantWriteError:
            _must_wait()


def _must_wait() -> NoReturn:
    raise BlockingIOError from None


class Certificate:
    """A certificate for this machine, as files.

    Attributes:
        chain: the file with it.
        key: the file with its private key, of ECDSA with the curve P-256.
        arguments: what tells the programs in benchmarks/servers to use it.
    """

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(_NAME, key_type=trustme.KeyType.ECDSA)
        self.chain = str(directory / "certificate.pem")
        self.key = str(directory / "key.pem")
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(self.chain, append=number > 0)
        issued.private_key_pem.write_to_path(self.key)
        self.arguments = ("--certificate", self.chain, "--private-key", self.key)
        self._client = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        self._client.sslsocket_class = TlsSocket

    def wrap(self, sock: socket.socket) -> socket.socket:
        """Do the handshake as a client; the socket must block.

        Raises:
            ProtocolError: it fails.
        """
        try:
            return self._client.wrap_socket(sock, server_hostname=_NAME)
        except OSError as error:
            raise ProtocolError(f"the TLS handshake failed: {error}") from error

    def hello(self) -> bytes:
        """Return a ClientHello."""
        outgoing = ssl.MemoryBIO()
        session = self._client.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=_NAME)
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        return outgoing.read()


@contextlib.contextmanager
def certificate() -> Iterator[Certificate]:
    """Issue a certificate, which is thrown away behind the block."""
    with tempfile.TemporaryDirectory() as directory:
        yield Certificate(Path(directory))
