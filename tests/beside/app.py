"""The program under test: a Flask application that another server serves."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from handy_ws import (
    HttpRequest,
    HttpResponse,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from werkzeug.wrappers import Response

app = Flask(__name__)
manager = WebSocketManager(
    # On a busy machine any callback may take a while, and that is not what the tests are about.
    WebSocketConfig(slow_callback_warning=None, max_connections=500)
)
if os.environ.get("START_BEFORE_FORK"):
    manager.start()


class Echo(WebSocketMessageHandler):
    """Answers with the message, or with what the request of the handshake was."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        text = message.payload
        if text == "tell":
            made = message.connection.request
            text = f"{made.path} {made.args.get('q')} {made.path_params} {made.user}"
        message.connection.send_text(text)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        closed.append(f"{connection.close_cause}")


def authorize(handshake: HttpRequest) -> HttpResponse | None:
    if handshake.args.get("who") == "nobody":
        return HttpResponse("not you\n", 401)
    return None


closed: list[str] = []
four = threading.Barrier(4)
echo = WebSocketHandler(Echo(), subprotocols=["echo"], authorize=authorize)


@app.get("/echo", websocket=True)
def echo_view() -> Response:
    return manager.upgrade(request.environ, echo)


@app.get("/rooms/<room>", websocket=True)
def room_view(room: str) -> Response:
    return manager.upgrade(request.environ, echo, path_params={"room": room}, user="ada")


@app.get("/late", websocket=True)
def late_view() -> Response:
    """Go wrong when the connection has been given away."""
    manager.upgrade(request.environ, echo)
    raise LookupError("a deliberate fault")


@app.get("/plain")
def plain_view() -> str:
    return "plain\n"


@app.get("/together")
def together_view() -> str:
    """Answer when four threads are here at once."""
    four.wait(20)
    return "all\n"


@app.get("/broadcast")
def broadcast_view() -> str:
    return manager.broadcast(request.args["text"]).name


@app.get("/state")
def state_view() -> dict[str, Any]:
    return {
        "connections": len(manager),
        "closed": closed,
        "refused": dict(manager.stats().connections_refused),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": [thread.name for thread in threading.enumerate()],
        "process": os.getpid(),
    }


flask_app = app.wsgi_app


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Have a path that is no view of Flask's, which refuses some handshakes itself."""
    if environ["PATH_INFO"] == "/wsgi":
        return manager.upgrade(environ, echo)(environ, start_response)
    return flask_app(environ, start_response)


app.wsgi_app = wsgi_app  # type: ignore[method-assign]
