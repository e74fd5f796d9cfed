"""A server to be stopped by signals: `python keepalive_process.py CONFIG`.

``CONFIG`` is the keyword arguments of a `WebSocketConfig` as JSON. Prints its port, and then, for
every line that comes, how many connections there are and the causes of all closures, as JSON.
"""

from __future__ import annotations

import json
import sys

from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
)


class Noting(WebSocketMessageHandler):
    """Notes the causes of closures."""

    def __init__(self) -> None:
        self.causes: list[str] = []

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        assert connection.close_cause is not None
        self.causes.append(connection.close_cause.value)


def main() -> None:
    websocket = WebSocketConfig(**json.loads(sys.argv[1]))
    handler = Noting()
    server = HttpServer(WebSocketHandler(handler), ServerConfig(port=0, websocket=websocket))
    server.start_in_thread()
    print(server.address[1], flush=True)
    for _ in sys.stdin:
        report = {"open": len(server.websocket_manager), "causes": handler.causes}
        print(json.dumps(report), flush=True)
    server.stop()


if __name__ == "__main__":
    main()
