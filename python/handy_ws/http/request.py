"""`HttpRequest`: werkzeug's request, made from a request head.

werkzeug reads requests from a WSGI environ (PEP 3333), so that is what a head is turned into.
The names of header fields become ``HTTP_*`` keys, in which ``-`` and ``_`` look the same: fields
with an underscore in their name are left out, or a client could forge the ones a proxy sets.
"""

from __future__ import annotations

import base64
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from io import BufferedIOBase

    from handy_ws.http.head import RequestHead, RequestSource
    from handy_ws.http.tls import TlsSession

__all__ = ["HttpRequest", "make_environ"]


class HttpRequest(Request):
    """An HTTP request: `werkzeug.wrappers.Request` with `path_params` and `client_certificate`.

    Attributes:
        path_params: what the rule of a `PathHandler` took from the path, by name, converted as
            the rule says. Empty without one.
        user: who has made it, if the program has found out: any object. What the `authorize` of a
            `WebSocketHandler` sets here is also there in ``connection.request``.
    """

    # The server has limited the body already (`ServerConfig.max_body_size`).
    max_form_memory_size = None

    def __init__(self, environ: dict[str, Any], path_params: dict[str, Any] | None = None) -> None:
        """Make a request from a WSGI environ."""
        # A request inside its own environ would be a reference cycle.
        super().__init__(environ, populate_request=False)
        self.path_params: dict[str, Any] = path_params or {}
        self.user: Any = None

    @property
    def client_certificate(self) -> bytes | None:
        """The certificate that the client has proved to have the key of, in DER; None for none.

        Clients are asked for one if `TlsConfig` has a ``client_ca``. Of a request that a proxy
        has passed on it is the proxy's.
        """
        certificate: bytes | None = self.environ.get("handy_ws.client_certificate")
        return certificate


def make_environ(
    source: RequestSource, head: RequestHead, body: BufferedIOBase | None = None
) -> dict[str, Any]:
    """Make the WSGI environ (PEP 3333) of a request.

    Args:
        source: how it came.
        head: the request head.
        body: a file at the start of the whole body; None for an empty one.
    """
    path = head.raw_path
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": head.query,
        "REQUEST_URI": head.target,
        "RAW_URI": head.target,
        "SERVER_NAME": source.local_address[0],
        "SERVER_PORT": str(source.local_address[1]),
        "SERVER_PROTOCOL": f"HTTP/{head.version}",
        "REMOTE_ADDR": source.remote_address[0],
        "REMOTE_PORT": str(source.remote_address[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": source.scheme,
        "wsgi.input": BytesIO() if body is None else body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        # The body ends where the file ends, however it was framed on the wire.
        "wsgi.input_terminated": True,
    }
    if source.scheme == "https":
        environ["HTTPS"] = "on"
    if source.tls is not None:
        environ.update(_tls_environ(source.tls))
    environ.update(head.variables())
    return environ


def _tls_environ(tls: TlsSession) -> dict[str, Any]:
    """Return what Apache's mod_ssl would say of the session, and the certificate as it is."""
    environ: dict[str, Any] = {"SSL_PROTOCOL": tls.version, "SSL_CIPHER": tls.cipher}
    if tls.client_certificate is not None:
        environ["SSL_CLIENT_CERT"] = _pem(tls.client_certificate)
        environ["handy_ws.client_certificate"] = tls.client_certificate
    return environ


def _pem(certificate: bytes) -> str:
    """Return a certificate in the form of RFC 7468 section 5."""
    text = base64.b64encode(certificate).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
