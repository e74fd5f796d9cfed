"""An echo server with picows, which is written in Cython."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.servers.options import command_line, run, tls

if TYPE_CHECKING:
    import argparse

    from picows import WSUpgradeRequest


class Echo(WSListener):  # type: ignore[misc]  # it has no types
    """Sends every text back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Text in, text out."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


async def serve_echo(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""

    def choose(_: WSUpgradeRequest) -> WSListener:
        return Echo()

    server = await ws_create_server(choose, "127.0.0.1", 0, backlog=1024, ssl=tls(arguments))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = command_line(__doc__).parse_args()
    run(serve_echo(given), given.loop)
