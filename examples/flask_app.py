"""A Flask application and WebSockets on one port: a view broadcasts, and the login counts for both.

    pip install flask
    python examples/flask_app.py
    then open http://127.0.0.1:8080 in two windows

Flask knows nothing of the sockets: its views are ordinary ones. `authorize` reads the session that
a view has set, from the cookie of the handshake, so only those who have logged in may listen.
"""

import argparse
import secrets
from collections.abc import Iterator

from flask import Flask, Request, abort, redirect, render_template_string, request, session
from handy_ws import (
    HttpRequest,
    HttpResponse,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketMessageHandler,
    WsgiHandler,
)
from werkzeug.wrappers import Response

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Announcements</title>
{% if not name %}
<form method="post" action="/login">
  <label>Your name <input name="name" required autofocus></label> <button>Log in</button>
</form>
{% else %}
<h1>Hello, {{ name }}</h1>
<form method="post" action="/announce">
  <label>Announcement <input name="text" required autofocus></label> <button>Send</button>
</form>
<form method="post" action="/upload" enctype="multipart/form-data">
  <label>File <input type="file" name="file" required></label> <button>Upload</button>
</form>
<p><a href="/numbers">Numbers</a></p>
<ul id="feed"></ul>
<script>
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/feed`);
  socket.onmessage = ({ data }) => {
    document.querySelector("#feed").appendChild(document.createElement("li")).textContent = data;
  };
</script>
{% endif %}
</html>"""

app = Flask(__name__)
app.secret_key = secrets.token_bytes()  # a real program keeps its key, and its users logged in


def announce(text: str) -> None:
    """Tell everybody who listens. The environment of a request knows the server."""
    server: HttpServer = request.environ["handy_ws.server"]
    server.websocket_manager.broadcast(f"{session['name']}: {text}")


@app.get("/")
def index() -> str:
    """Show the page."""
    return render_template_string(PAGE, name=session.get("name"))


@app.post("/login")
def login() -> Response:
    """Believe whoever says a name. Yours asks for a password."""
    session["name"] = request.form["name"]
    return redirect("/")


@app.post("/announce")
def post_announcement() -> Response:
    """Broadcast what the form says."""
    if "name" not in session:
        abort(403)
    announce(request.form["text"])
    return redirect("/")


@app.post("/upload")
def upload() -> Response:
    """Tell everybody how large a file is."""
    if "name" not in session:
        abort(403)
    file = request.files["file"]
    size = file.seek(0, 2)
    announce(f"{file.filename} has {size} bytes")
    return redirect("/")


@app.get("/numbers")
def numbers() -> Response:
    """Stream a response: each part is made when the client has taken those before."""

    def lines() -> Iterator[str]:
        for number in range(100_000):
            yield f"{number}\n"

    return Response(lines(), mimetype="text/plain")


class Feed(WebSocketMessageHandler):
    """Says hello; what follows comes from the views."""

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Greet."""
        connection.send_text("Welcome")


def authorize(handshake: HttpRequest) -> HttpResponse | None:
    """Let in who has logged in: a handshake brings the cookies of the page along."""
    session = app.session_interface.open_session(app, Request(handshake.environ))
    return None if session and "name" in session else HttpResponse("Log in first\n", 401)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve a Flask application and WebSockets.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)
    paths = PathHandler(fallback=WsgiHandler(app))
    paths.add("/feed", WebSocketHandler(Feed(), authorize=authorize))
    with HttpServer(paths, config) as server:
        print(f"Serving at http://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
