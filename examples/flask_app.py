"""A Flask application and WebSockets on one port: one login for both, and views that broadcast.

    pip install flask
    python examples/flask_app.py
    then open http://127.0.0.1:8080 in two windows, a private one and another: log in as ada,
    password lovelace, and as grace, password hopper

Flask knows nothing of the sockets: these are ordinary views. `authorize` reads the session that
they have set, from the cookie of the handshake, so only those who have logged in listen and talk.
"""

import argparse
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, redirect, render_template_string, request, send_from_directory, session
from handy_ws import (
    CloseCode,
    HttpRequest,
    HttpResponse,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
    WsgiHandler,
)
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.utils import secure_filename
from werkzeug.wrappers import Response

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Office</title>
{% if not session.name %}
<form method="post">
  {% if is_wrong %}<p>The name or the password is not correct.</p>{% endif %}
  <label>Username <input name="username" required autofocus></label>
  <label>Password <input name="password" type="password" required></label>
  <button>Log in</button>
</form>
{% else %}
<h1>Hello, {{ session.name }}</h1>
<form id="say">
  <label>Message <input id="text" required autofocus></label> <button>Say</button>
</form>
<form method="post" action="/upload" enctype="multipart/form-data">
  <label>File <input type="file" name="file" required></label> <button>Upload</button>
</form>
{% for file in files %}<a href="/files/{{ file }}">{{ file }}</a> {% endfor %}
<a href="/numbers">Numbers</a>
<form method="post" action="/logout"><button>Log out</button></form>
<ul id="feed"></ul>
<script>
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/feed`);
  socket.onmessage = ({ data }) => {
    document.querySelector("#feed").appendChild(document.createElement("li")).textContent = data;
  };
  document.querySelector("#say").onsubmit = (event) => {
    event.preventDefault();
    socket.send(document.querySelector("#text").value);
    event.target.reset();
  };
</script>
{% endif %}
</html>"""

PASSWORDS = {
    "ada": generate_password_hash("lovelace"),
    "grace": generate_password_hash("hopper"),
}

app = Flask(__name__)
app.secret_key = secrets.token_bytes()  # a real program keeps its key, and its users logged in
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # so that other sites' forms come without a login


# ---- the application


@app.before_request
def ask_for_login() -> Response | None:
    """Show nothing but the login page to those who have not logged in."""
    return None if "name" in session or request.endpoint == "login" else redirect("/login")


@app.route("/login", methods=["GET", "POST"])
def login() -> Response | str:
    """Check the password."""
    if request.method != "POST":
        return render_template_string(PAGE)
    name, password = request.form["username"], request.form["password"]
    if not check_password_hash(PASSWORDS.get(name, ""), password):
        return render_template_string(PAGE, is_wrong=True)
    session["name"] = name
    return redirect("/")


@app.post("/logout")
def logout() -> Response:
    """Forget the user, whose open sockets would otherwise stay open."""
    name = session.pop("name")
    for connection in manager().connections:
        if connection.request.user == name:
            connection.close(CloseCode.POLICY_VIOLATION, "logged out")
    return redirect("/login")


@app.get("/")
def index() -> str:
    """Show the page."""
    files = sorted(path.name for path in Path(app.config["FILES"]).iterdir())
    return render_template_string(PAGE, files=files)


@app.post("/upload")
def upload() -> Response:
    """Keep a file, and tell everybody who is there."""
    file = request.files["file"]
    name = secure_filename(file.filename or "") or "unnamed"
    path = Path(app.config["FILES"], name)
    file.save(path)
    manager().broadcast(f"{session['name']} has uploaded {name}, {path.stat().st_size} bytes")
    return redirect("/")


@app.get("/files/<name>")
def download(name: str) -> Response:
    """Send a file, never as a page of this site."""
    return send_from_directory(app.config["FILES"], name, as_attachment=True)


@app.get("/numbers")
def numbers() -> Response:
    """Stream a response: each part is made when the client has taken those before."""

    def lines() -> Iterator[str]:
        for number in range(10_000):
            yield f"{number}\n"

    return Response(lines(), mimetype="text/plain")


def manager() -> WebSocketManager:
    """Return the manager of the sockets: the environment of every request knows the server."""
    server: HttpServer = request.environ["handy_ws.server"]
    return server.websocket_manager


# ---- the sockets


def authorize(handshake: HttpRequest) -> HttpResponse | None:
    """Let in who has logged in."""
    with app.request_context(handshake.environ):
        handshake.user = session.get("name")
    return None if handshake.user else HttpResponse("Log in first\n", 401)


class Feed(WebSocketMessageHandler):
    """Passes on to everybody what anybody says."""

    manager: WebSocketManager  # of the server; set before that starts

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Greet."""
        connection.send_text(f"Welcome, {connection.request.user}")

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Say who says it."""
        self.manager.broadcast(f"{message.connection.request.user}: {message.payload}")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve a Flask application and WebSockets.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)

    feed = Feed()
    paths = PathHandler(fallback=WsgiHandler(app))
    paths.add("/feed", WebSocketHandler(feed, authorize=authorize))
    server = HttpServer(paths, config)
    feed.manager = server.websocket_manager
    with tempfile.TemporaryDirectory() as app.config["FILES"], server:
        print(f"Serving at http://{server.address[0]}:{server.address[1]}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
