"""A server with picows, which is written in Cython: it sends back, or passes on to everybody."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.servers.options import add_does, command_line, run, tls

if TYPE_CHECKING:
    import argparse

    from picows import WSUpgradeRequest


everybody: set[WSTransport] = set()


class Echo(WSListener):  # type: ignore[misc]  # it has no types
    """Sends every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Message in, message out."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Broadcast(Echo):
    """Sends every message to all connections."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """One more."""
        everybody.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """One less."""
        everybody.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Message in, broadcast out."""
        if frame.msg_type == WSMsgType.CLOSE:
            super().on_ws_frame(transport, frame)
            return
        payload = frame.get_payload_as_bytes()
        for one in everybody:
            one.send(frame.msg_type, payload)


class Sleep(Echo):
    """Sleeps in its handler, for as many seconds as a message says."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Block, and say when it is over."""
        if frame.msg_type == WSMsgType.TEXT:
            time.sleep(float(frame.get_payload_as_ascii_text()))
            transport.send(frame.msg_type, b"done")
        else:
            super().on_ws_frame(transport, frame)


HANDLERS = {"echo": Echo, "broadcast": Broadcast, "sleep": Sleep}


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    listener = HANDLERS[arguments.does]

    def choose(_: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(choose, "127.0.0.1", 0, backlog=1024, ssl=tls(arguments))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = command_line(__doc__)
    add_does(parser, "sleep")
    given = parser.parse_args()
    run(serve(given), given.loop)
