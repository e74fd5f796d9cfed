"""An echo server with websockets: its asyncio implementation, with its C extension."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import websockets.speedups  # noqa: F401 - it must be there, or something else is measured
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from benchmarks.servers.options import command_line, level_1, run, tls

if TYPE_CHECKING:
    import argparse

    from websockets.asyncio.server import ServerConnection


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    with contextlib.suppress(ConnectionClosedError):  # or each reset is logged with a traceback
        async for message in connection:
            await connection.send(message)


async def serve_echo(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    extensions = None if arguments.deflate == "default" else [level_1(arguments.deflate)]
    async with serve(
        echo,
        "127.0.0.1",
        0,
        ping_interval=None,
        extensions=extensions,
        ssl=tls(arguments),
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = command_line(__doc__).parse_args()
    run(serve_echo(arguments), arguments.loop)
