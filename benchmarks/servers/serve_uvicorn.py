"""A server with uvicorn that sends every text back, or passes it on to everybody.

It is an ASGI application without a framework.

uvicorn has no setting for the level. With ``--deflate`` the protocol that is built on websockets
gets another extension; the one on wsproto always compresses with zlib's level 6.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from benchmarks.servers.options import command_line, level_1

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Event = dict[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]

BACKLOG = 2048
everybody: set[Send] = set()


async def echo(scope: Event, receive: Receive, send: Send) -> None:
    """Send every text back."""
    if scope["type"] != "websocket":
        raise RuntimeError("only for WebSocket connections")
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def broadcast(scope: Event, receive: Receive, send: Send) -> None:
    """Send every text to all connections."""
    if scope["type"] != "websocket":
        raise RuntimeError("only for WebSocket connections")
    await receive()
    await send({"type": "websocket.accept"})
    everybody.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for one in list(everybody):
                await one({"type": "websocket.send", "text": event["text"]})
    finally:
        everybody.remove(send)


def protocol(name: str, deflate: str) -> Any:
    """Return what uvicorn's `ws` setting takes: a name, or what makes a connection's protocol."""
    if name == "wsproto" or deflate == "default":
        return name

    def at_level_1(*arguments: Any, **keywords: Any) -> WebSocketsSansIOProtocol:
        made = WebSocketsSansIOProtocol(*arguments, **keywords)
        made.conn.available_extensions = [level_1(deflate)]
        return made

    return at_level_1


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = command_line(__doc__)
    parser.add_argument("--ws", choices=("websockets-sansio", "wsproto"), required=True)
    parser.add_argument("--does", choices=("echo", "broadcast"), default="echo")
    arguments = parser.parse_args()
    config = uvicorn.Config(
        broadcast if arguments.does == "broadcast" else echo,
        loop=arguments.loop,
        ws=protocol(arguments.ws, arguments.deflate),
        ws_ping_interval=None,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.private_key,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)  # who comes early waits in the backlog
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
