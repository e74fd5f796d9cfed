"""WebSockets in a Flask application that stays on gunicorn, and none of its threads waits for one.

    pip install flask gunicorn
    gunicorn --threads 4 --chdir examples gunicorn_app:app
    then open http://127.0.0.1:8000 in two windows

The view /chat gives its connection away. One loop in the worker process has all of them, and any
view can broadcast. `python examples/gunicorn_app.py --port 8080` starts gunicorn as well.
"""

import argparse
from typing import Any

from flask import Flask, Response, redirect, request
from gunicorn.app.base import BaseApplication
from handy_ws import (
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)
from werkzeug.wrappers import Response as AnyResponse

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Chat beside gunicorn</title>
<form id="say">
  <label>Say <input name="text" required autofocus></label> <button>Send</button>
</form>
<form method="post" action="/announce">
  <label>Announce, by a view <input name="text" required></label> <button>Send</button>
</form>
<ul id="log"></ul>
<script>
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/chat`);
  socket.onmessage = ({ data }) => {
    document.querySelector("#log").appendChild(document.createElement("li")).textContent = data;
  };
  document.querySelector("#say").onsubmit = (event) => {
    event.preventDefault();
    socket.send(event.target.text.value);
    event.target.reset();
  };
</script>
</html>"""

app = Flask(__name__)
manager = WebSocketManager()  # its thread starts with the first socket, in the worker process


class Chat(WebSocketMessageHandler):
    """Tells everybody what anybody says."""

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Greet."""
        connection.send_text(f"Welcome, you are number {len(manager)}")

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Pass it on."""
        manager.broadcast(message.payload)


chat = WebSocketHandler(Chat())


@app.get("/")
def index() -> str:
    """Show the page."""
    return PAGE


@app.get("/chat", websocket=True)
def chat_view() -> AnyResponse:
    """Make a WebSocket of this connection, or say why not."""
    return manager.upgrade(request.environ, chat)


@app.post("/announce")
def announce() -> AnyResponse:
    """Broadcast from an ordinary view."""
    manager.broadcast(f"Announcement: {request.form['text']}")
    return redirect("/")


@app.get("/count")
def count() -> Response:
    """Say how many there are."""
    return Response(f"{len(manager)}\n", mimetype="text/plain")


class Gunicorn(BaseApplication):
    """Gunicorn, with settings from here: one process, because broadcasts do not leave theirs."""

    def __init__(self, port: int) -> None:
        """Take the port."""
        self._port = port
        super().__init__()

    def load_config(self) -> None:
        """Say what differs from the defaults."""
        self.cfg.set("bind", f"127.0.0.1:{self._port}")
        self.cfg.set("threads", 4)
        self.cfg.set("loglevel", "warning")
        self.cfg.set("when_ready", tell_address)

    def load(self) -> Flask:
        """Return the application."""
        return app


def tell_address(arbiter: Any) -> None:
    """Print where it listens."""
    print(f"Serving at {arbiter.LISTENERS[0]}", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve a chat with gunicorn.")
    parser.add_argument("--port", type=int, default=8080)
    Gunicorn(parser.parse_args().port).run()


if __name__ == "__main__":
    main()
