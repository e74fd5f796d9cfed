"""A server with aiohttp that sends every message back, or passes it on to everybody.

It compresses with level 1 and a window of 15 bits, as aiohttp always does; whether there is
takeover is for the client's offer to decide.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from benchmarks.servers.options import add_does, command_line, run, tls

if TYPE_CHECKING:
    import argparse

everybody: set[web.WebSocketResponse] = set()


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await websocket.send_bytes(message.data)
    return websocket


async def broadcast(request: web.Request) -> web.WebSocketResponse:
    """Send every message to all connections."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    everybody.add(websocket)
    try:
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                for one in list(everybody):
                    await one.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                for one in list(everybody):
                    await one.send_bytes(message.data)
    finally:
        everybody.remove(websocket)
    return websocket


async def sleep(request: web.Request) -> web.WebSocketResponse:
    """Sleep in the handler, for as many seconds as a message says."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            time.sleep(float(message.data))  # noqa: ASYNC251 - what handlers that block do
            await websocket.send_str("done")
    return websocket


HANDLERS = {"echo": echo, "broadcast": broadcast, "sleep": sleep}


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    application = web.Application()
    application.router.add_get("/", HANDLERS[arguments.does])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls(arguments), backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = command_line(__doc__)
    add_does(parser, "sleep")
    given = parser.parse_args()
    run(serve(given), given.loop)
