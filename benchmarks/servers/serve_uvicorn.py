"""A server with uvicorn that sends every message back, or passes it on to everybody.

uvicorn has no setting for the level. With ``--deflate`` the protocol that is built on websockets
gets another extension; the one on wsproto always compresses with zlib's level 6.
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from benchmarks.servers.asgi_app import broadcast, echo
from benchmarks.servers.options import add_does, command_line, level_1

BACKLOG = 2048


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
    add_does(parser)
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
