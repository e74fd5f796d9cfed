"""Certificates for tests: authorities, what they issue, and clients that trust one of them."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme
from handy_ws import TlsConfig

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)
_NOW = dt.datetime.now(dt.UTC)
#: Options for certificates whose time is over, or still to come.
EXPIRED = {"not_before": _NOW - 20 * _DAY, "not_after": _NOW - 10 * _DAY}
NOT_YET_VALID = {"not_before": _NOW + 10 * _DAY, "not_after": _NOW + 20 * _DAY}

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
NAMES = ("localhost", "127.0.0.1", "::1")


class Issued(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    private_key: Path

    def config(self, **options: Any) -> TlsConfig:
        """Return the settings of a server that has it."""
        return TlsConfig(self.certificate, self.private_key, **options)

    @property
    def der(self) -> bytes:
        """The certificate, without those of the authorities."""
        end = "-----END CERTIFICATE-----\n"
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text().partition(end)[0] + end)


class Files:
    """The files of a server, which can be replaced as those of a program are when it runs."""

    def __init__(self, directory: Path, issued: Issued, client_ca: Path | None = None) -> None:
        self.issued = Issued(directory / "certificate.pem", directory / "key.pem")
        self.client_ca = None if client_ca is None else directory / "clients.pem"
        self.replace(issued, client_ca)

    def replace(self, issued: Issued, client_ca: Path | None = None) -> None:
        """Write other contents to the same files."""
        self.issued.certificate.write_bytes(issued.certificate.read_bytes())
        self.issued.private_key.write_bytes(issued.private_key.read_bytes())
        if self.client_ca is not None and client_ca is not None:
            self.client_ca.write_bytes(client_ca.read_bytes())

    def config(self) -> TlsConfig:
        """Return the settings of a server that has them."""
        return self.issued.config(client_ca=self.client_ca)


class Authority:
    """Issues certificates, into files below its directory.

    Attributes:
        file: its own certificate.
        server: what it has issued to a server on this machine.
    """

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self._directory = directory
        self._count = 0
        self.file = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))
        self.server = self.issue(*NAMES)

    def issue(self, *identities: str, **options: Any) -> Issued:
        """Issue a certificate for these names and addresses; the options are trustme's."""
        self._count += 1
        issued = Issued(
            self._directory / f"{self._count}-certificate.pem",
            self._directory / f"{self._count}-key.pem",
        )
        made = self._authority.issue_cert(*identities, **options)
        issued.certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        issued.private_key.write_bytes(made.private_key_pem.bytes())
        return issued

    def client(
        self, version: str | None = None, certificate: Issued | None = None
    ) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority.

        Args:
            version: the only TLS version that it speaks; all by default.
            certificate: what it proves who it is with.
        """
        context = ssl.create_default_context(cafile=str(self.file))
        if version is not None:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context
