"""A server with tornado that sends every message back, or passes it on to everybody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from benchmarks.servers.options import add_does, command_line, run

if TYPE_CHECKING:
    import argparse

BACKLOG = 1024
everybody: set[Broadcast] = set()


class Echo(WebSocketHandler):  # type: ignore[misc]  # its types are not at hand everywhere
    """Sends every message back."""

    def on_message(self, message: str | bytes) -> None:
        """Message in, message out."""
        self.write_message(message, binary=isinstance(message, bytes))


class Broadcast(WebSocketHandler):  # type: ignore[misc]
    """Sends every message to all connections."""

    def open(self) -> None:
        """One more."""
        everybody.add(self)

    def on_close(self) -> None:
        """One less."""
        everybody.discard(self)

    def on_message(self, message: str | bytes) -> None:
        """Message in, broadcast out."""
        for one in everybody:
            one.write_message(message, binary=isinstance(message, bytes))


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    handler = Broadcast if arguments.does == "broadcast" else Echo
    server = HTTPServer(Application([("/", handler)]))
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = command_line(__doc__)
    add_does(parser)
    given = parser.parse_args()
    run(serve(given), given.loop)
