"""An echo server with aiohttp.

It compresses with level 1 and a window of 15 bits, as aiohttp always does; whether there is
takeover is for the client's offer to decide.
"""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from benchmarks.servers.options import command_line, run


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every text back."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
    return websocket


async def serve_echo() -> None:
    """Serve until the process ends."""
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve_echo(), command_line(__doc__).parse_args().loop)
