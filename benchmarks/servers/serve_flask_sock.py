"""A server with Flask-Sock, on werkzeug's threads: it sends back, or passes on to everybody."""

from __future__ import annotations

import argparse
import contextlib
import logging
from typing import TYPE_CHECKING

from flask import Flask
from flask_sock import ConnectionClosed, Sock
from werkzeug.serving import make_server

from benchmarks.servers.options import add_does

if TYPE_CHECKING:
    from simple_websocket import Server

everybody: set[Server] = set()


def echo(connection: Server) -> None:
    """Send every message back."""
    while True:
        connection.send(connection.receive())


def broadcast(connection: Server) -> None:
    """Send every message to all connections."""
    everybody.add(connection)
    try:
        while True:
            message = connection.receive()
            for one in list(everybody):
                with contextlib.suppress(ConnectionClosed):
                    one.send(message)
    finally:
        everybody.remove(connection)


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_does(parser)
    handle = broadcast if parser.parse_args().does == "broadcast" else echo
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = Flask(__name__)
    Sock(application).route("/")(handle)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
