"""From an ordinary HTTP request to every open WebSocket, on one port.

    python examples/broadcast_from_http.py
    python -m websockets ws://127.0.0.1:8080/ws           # in as many terminals as you like
    curl -d 'Lunch is ready' http://127.0.0.1:8080/broadcast

The HTTP handler runs on a worker thread of the server, the sockets live in another thread.
`broadcast` may be called from either: it queues the message and returns at once, however slow the
listeners are.
"""

import argparse

from handy_ws import (
    HttpRequestContext,
    HttpResponse,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)


def broadcast(context: HttpRequestContext) -> HttpResponse:
    """Send the body of this request to everybody who listens at /ws."""
    manager = context.server.websocket_manager
    manager.broadcast(context.request.get_data(as_text=True))
    return HttpResponse(f"Sent to {len(manager)} listeners.\n")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Broadcast to WebSocket clients from HTTP.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    paths = PathHandler()
    paths.add("/broadcast", broadcast, methods=["POST"])
    paths.add("/ws", WebSocketHandler(WebSocketMessageHandler()))  # listeners only: nothing to do

    with HttpServer(paths, config) as server:
        print(f"Broadcasting at http://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
