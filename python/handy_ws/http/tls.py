"""TLS: the settings of a server, and what its requests know of their sessions.

The sessions themselves are the core's (`handy_ws._core`). A `TlsContext` makes them, and to the
HTTP side each looks like a socket (`stream.py`).
"""

from __future__ import annotations

import os  # noqa: TC003 - the types of fields are read at run time, by cli/options.py
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from handy_ws._core import TlsContext, TlsStream
from handy_ws.http.paths import path_of

if TYPE_CHECKING:
    from handy_ws.http.stream import Stream

__all__ = ["TlsConfig", "TlsSession", "session_of", "tls_context"]

_VERSIONS: Final = ("1.2", "1.3")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """How a server speaks TLS, as https and wss: TLS 1.3 (RFC 8446) and 1.2 (RFC 5246).

    ::

        ServerConfig(port=443, tls=TlsConfig("fullchain.pem", "privkey.pem"))

    The files are read and checked when this is made, when the server is, and at
    `HttpServer.reload_tls`.

    Attributes:
        certificate: the path of a PEM file with the server's certificate, followed by those that
            lead from it to an authority that clients know.
        private_key: the path of a PEM file with its private key, without a passphrase.
        client_ca: the path of a PEM file with the authorities that issue certificates to clients.
            A client then has to prove that it has one, or the handshake fails;
            `HttpRequest.client_certificate` has it. Default ``None``, clients are not asked.
        minimum_version: the oldest version that is spoken, ``"1.2"`` or ``"1.3"``. Default
            ``"1.2"``.
    """

    certificate: str | os.PathLike[str]
    private_key: str | os.PathLike[str]
    _: KW_ONLY
    client_ca: str | os.PathLike[str] | None = None
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        """Check every field, and the files.

        Raises:
            ValueError: a field has a wrong type or value, or a file cannot be used; the message
                names the field.
        """
        for name in ("certificate", "private_key", "client_ca"):
            value: Any = getattr(self, name)
            if value is not None or name != "client_ca":
                path = path_of(value)
                if path is None:
                    raise _wrong(name, "must be the path of a PEM file", value)
                object.__setattr__(self, name, path)
        if self.minimum_version not in _VERSIONS:
            raise _wrong("minimum_version", "must be '1.2' or '1.3'", self.minimum_version)
        tls_context(self)


def tls_context(config: TlsConfig) -> TlsContext:
    """Read the files.

    Raises:
        ValueError: one of them cannot be used; the message names the field.
    """
    try:
        return TlsContext(
            config.certificate, config.private_key, config.client_ca, config.minimum_version
        )
    except ValueError as error:
        msg = f"TlsConfig.{error}"
        raise ValueError(msg) from None


def _wrong(name: str, rule: str, value: object) -> ValueError:
    return ValueError(f"TlsConfig.{name} {rule}, not {value!r}")


class TlsSession(NamedTuple):
    """What a request tells of the TLS session that it came by."""

    #: Such as ``TLSv1.3``.
    version: str | None
    #: As IANA names it, such as ``TLS_AES_256_GCM_SHA384``.
    cipher: str | None
    #: The certificate that the client has proved to have the key of, in DER.
    client_certificate: bytes | None


def session_of(stream: Stream) -> TlsSession | None:
    """Return what is known of the TLS session of a stream, None if it has none."""
    if isinstance(stream, TlsStream):
        return TlsSession(stream.version, stream.cipher, stream.client_certificate)
    return None
