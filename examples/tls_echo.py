"""An echo server that speaks TLS: wss, and https for whoever visits it with a browser.

Without a certificate it makes one for this machine, and says how to trust it:

    python examples/tls_echo.py
    SSL_CERT_FILE=... python -m websockets wss://localhost:8443

With one, SIGHUP has it read the files anew, as after a renewal; nobody is disconnected:

    python examples/tls_echo.py --certificate fullchain.pem --private-key privkey.pem
    kill -HUP ...
"""

import argparse
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from handy_ws import (
    HttpRequestContext,
    HttpServer,
    PathHandler,
    ServerConfig,
    TlsConfig,
    WebSocketBinaryMessage,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)


class Echo(WebSocketMessageHandler):
    """Sends every message back to the connection it came from."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text in, text out."""
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Bytes in, bytes out."""
        message.connection.send_binary(message.payload)


def about(context: HttpRequestContext) -> None:
    """Tell a visitor of the page how it came here."""
    environ = context.request.environ
    context.response.data = "By {SSL_PROTOCOL}, {SSL_CIPHER}.\n".format_map(environ)


def make_certificate(directory: Path) -> TlsConfig:
    """Make a certificate for this machine that vouches for itself, with the `openssl` command."""
    certificate, private_key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(  # noqa: S603 - nothing in it comes from outside
        [
            *("openssl", "req", "-x509", "-days", "7", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(private_key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return TlsConfig(certificate, private_key)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Send every WebSocket message back, over TLS.")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--certificate", help="a PEM file with the whole chain")
    parser.add_argument("--private-key", help="the PEM file with its key")
    arguments = parser.parse_args()
    paths = PathHandler().add("/", WebSocketHandler(Echo())).add("/about", about)

    with TemporaryDirectory() as directory:
        if arguments.certificate:
            tls = TlsConfig(arguments.certificate, arguments.private_key)
        else:
            tls = make_certificate(Path(directory))
        server = HttpServer(paths, ServerConfig(port=arguments.port, tls=tls))
        signal.signal(signal.SIGHUP, lambda *_: server.reload_tls())
        with server:
            print(f"Echoing at wss://{server.address[0]}:{server.address[1]}", flush=True)
            if not arguments.certificate:
                print(f"Trust it with SSL_CERT_FILE={tls.certificate}", flush=True)
            server.wait()


if __name__ == "__main__":
    main()
