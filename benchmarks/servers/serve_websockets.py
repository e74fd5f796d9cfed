"""A server with websockets that sends back, or passes on to everybody.

It is its asyncio implementation, with its C extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import websockets.speedups  # noqa: F401 - it must be there, or something else is measured
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosedError

from benchmarks.servers.options import add_does, command_line, level_1, run, tls

if TYPE_CHECKING:
    import argparse

    from websockets.asyncio.server import ServerConnection


everybody: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    with contextlib.suppress(ConnectionClosedError):  # or each reset is logged with a traceback
        async for message in connection:
            await connection.send(message)


async def pass_on(connection: ServerConnection) -> None:
    """Send every message to all connections."""
    everybody.add(connection)
    try:
        with contextlib.suppress(ConnectionClosedError):
            async for message in connection:
                broadcast(everybody, message)
    finally:
        everybody.remove(connection)


async def sleep(connection: ServerConnection) -> None:
    """Sleep in the handler, for as many seconds as a message says."""
    with contextlib.suppress(ConnectionClosedError):
        async for message in connection:
            time.sleep(float(message))  # noqa: ASYNC251 - what handlers that block do
            await connection.send("done")


HANDLERS = {"echo": echo, "broadcast": pass_on, "sleep": sleep}


async def serve_all(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    extensions = None if arguments.deflate == "default" else [level_1(arguments.deflate)]
    async with serve(
        HANDLERS[arguments.does],
        "127.0.0.1",
        0,
        ping_interval=None,
        extensions=extensions,
        ssl=tls(arguments),
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = command_line(__doc__)
    add_does(parser, "sleep")
    arguments = parser.parse_args()
    run(serve_all(arguments), arguments.loop)
