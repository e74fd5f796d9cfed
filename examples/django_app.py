"""A Django application and WebSockets on one port: one login for both, and views that broadcast.

    pip install django
    python examples/django_app.py
    then open http://127.0.0.1:8080 in two windows, a private one and another: log in as ada,
    password lovelace, and as grace, password hopper

All of a project in one file, with a database and files that are gone afterwards. Django knows
nothing of the sockets: these are ordinary views. `authorize` finds the user of a handshake as
Django's middleware does for a request, so only those who have logged in listen and talk.
"""

import argparse
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.contrib.auth import authenticate, get_user, get_user_model, login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.files.storage import default_storage
from django.core.handlers.wsgi import WSGIRequest
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connections
from django.http import FileResponse, Http404, StreamingHttpResponse
from django.http import HttpRequest as DjangoRequest
from django.http import HttpResponse as DjangoResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST
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

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Office</title>
{% if not user.is_authenticated %}
<form method="post">{% csrf_token %}
  {% if is_wrong %}<p>The name or the password is not correct.</p>{% endif %}
  <label>Username <input name="username" required autofocus></label>
  <label>Password <input name="password" type="password" required></label>
  <button>Log in</button>
</form>
{% else %}
<h1>Hello, {{ user.username }}</h1>
<form id="say">
  <label>Message <input id="text" required autofocus></label> <button>Say</button>
</form>
<form method="post" action="/upload" enctype="multipart/form-data">{% csrf_token %}
  <label>File <input type="file" name="file" required></label> <button>Upload</button>
</form>
{% for file in files %}<a href="/files/{{ file }}">{{ file }}</a> {% endfor %}
<a href="/numbers">Numbers</a>
<form method="post" action="/logout">{% csrf_token %}<button>Log out</button></form>
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


# ---- the project


def set_up(directory: Path) -> None:
    """Configure Django with a new database, in which there are two users."""
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": directory / "db.sqlite3"}
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
        ],
        LOGIN_URL="/login",
        MEDIA_ROOT=directory / "files",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(),
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "context_processors": ["django.contrib.auth.context_processors.auth"],
                    "loaders": [("django.template.loaders.locmem.Loader", {"page.html": PAGE})],
                },
            }
        ],
    )
    django.setup()
    (directory / "files").mkdir()
    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    users.create_user("ada", password="lovelace")  # noqa: S106 - the docstring tells it, too
    users.create_user("grace", password="hopper")  # noqa: S106
    connections.close_all()


@login_not_required
def log_in(request: DjangoRequest) -> DjangoResponse:
    """Check the password."""
    if request.method != "POST":
        return render(request, "page.html")
    name, password = request.POST["username"], request.POST["password"]
    user = authenticate(request, username=name, password=password)
    if user is None:
        return render(request, "page.html", {"is_wrong": True})
    login(request, user)
    return redirect("/")


@require_POST
def log_out(request: DjangoRequest) -> DjangoResponse:
    """Forget the user, whose open sockets would otherwise stay open."""
    user = request.user
    logout(request)
    for connection in manager(request).connections:
        if connection.request.user == user:
            connection.close(CloseCode.POLICY_VIOLATION, "logged out")
    return redirect("/login")


def index(request: DjangoRequest) -> DjangoResponse:
    """Show the page."""
    return render(request, "page.html", {"files": sorted(default_storage.listdir("")[1])})


@require_POST
def upload(request: DjangoRequest) -> DjangoResponse:
    """Keep a file, and tell everybody who is there."""
    file = request.FILES["file"]
    name = default_storage.save(file.name, file)
    manager(request).broadcast(f"{request.user} has uploaded {name}, {file.size} bytes")
    return redirect("/")


def download(_: DjangoRequest, name: str) -> FileResponse:
    """Send a file, never as a page of this site."""
    if not default_storage.exists(name):
        raise Http404
    return FileResponse(default_storage.open(name), as_attachment=True)


def numbers(_: DjangoRequest) -> StreamingHttpResponse:
    """Stream a response: each part is made when the client has taken those before."""

    def lines() -> Iterator[str]:
        for number in range(10_000):
            yield f"{number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


def manager(request: DjangoRequest) -> WebSocketManager:
    """Return the manager of the sockets: the environment of every request knows the server."""
    server: HttpServer = request.META["handy_ws.server"]
    return server.websocket_manager


urlpatterns = [
    path("login", log_in),
    path("logout", log_out),
    path("", index),
    path("upload", upload),
    path("files/<str:name>", download),
    path("numbers", numbers),
]


# ---- the sockets


def authorize(handshake: HttpRequest) -> HttpResponse | None:
    """Let in who has logged in."""
    request = WSGIRequest(handshake.environ)
    SessionMiddleware(lambda _: None).process_request(request)
    try:
        handshake.user = get_user(request)
    finally:
        close_old_connections()  # as Django does behind each of its own requests
    return None if handshake.user.is_authenticated else HttpResponse("Log in first\n", 401)


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
    parser = argparse.ArgumentParser(description="Serve a Django application and WebSockets.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)
    with tempfile.TemporaryDirectory() as directory:
        set_up(Path(directory))
        feed = Feed()
        paths = PathHandler(fallback=WsgiHandler(get_wsgi_application()))
        paths.add("/feed", WebSocketHandler(feed, authorize=authorize))
        server = HttpServer(paths, config)
        feed.manager = server.websocket_manager
        with server:
            print(f"Serving at http://{server.address[0]}:{server.address[1]}", flush=True)
            server.wait()


if __name__ == "__main__":
    main()
