"""A handy_ws server that answers with a short text: by a handler, or by a WSGI application."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from handy_ws import HttpResponse, HttpServer, ServerConfig, TlsConfig, WsgiHandler

from benchmarks.servers.wsgi_app import TEXT, application

if TYPE_CHECKING:
    from handy_ws import HttpRequestContext


def hello(_: HttpRequestContext) -> HttpResponse:
    """Answer with the text."""
    return HttpResponse(TEXT, mimetype="text/plain")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handler", choices=("function", "wsgi"), default="function")
    parser.add_argument("--threads", type=int, default=ServerConfig().workers)
    parser.add_argument("--head-timeout", type=float, default=ServerConfig().head_timeout)
    parser.add_argument(
        "--keep-alive-timeout", type=float, default=ServerConfig().keep_alive_timeout
    )
    parser.add_argument("--certificate", help="to speak TLS, with a private key")
    parser.add_argument("--private-key")
    arguments = parser.parse_args()
    files = arguments.certificate, arguments.private_key
    config = ServerConfig(
        port=0,
        workers=arguments.threads,
        head_timeout=arguments.head_timeout,
        keep_alive_timeout=arguments.keep_alive_timeout,
        tls=TlsConfig(*files) if files[0] else None,
    )
    handler = WsgiHandler(application) if arguments.handler == "wsgi" else hello
    with HttpServer(handler, config) as server:
        print(server.address[1], flush=True)
        server.wait()


if __name__ == "__main__":
    main()
