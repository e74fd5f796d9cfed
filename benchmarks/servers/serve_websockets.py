"""An echo server with websockets: its asyncio implementation, with its C extension."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import websockets.speedups  # noqa: F401 - it must be there, or something else is measured
from websockets.asyncio.server import serve

from benchmarks.servers.options import command_line, level_1, run

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    async for message in connection:
        await connection.send(message)


async def serve_echo(deflate: str) -> None:
    """Serve until the process ends."""
    extensions = None if deflate == "default" else [level_1(deflate)]
    async with serve(echo, "127.0.0.1", 0, ping_interval=None, extensions=extensions) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = command_line(__doc__).parse_args()
    run(serve_echo(arguments.deflate), arguments.loop)
