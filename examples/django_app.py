"""A Django application and WebSockets on one port: a view broadcasts, Django's users are the users.

    pip install django
    python examples/django_app.py
    then open http://127.0.0.1:8080 in two windows, and log in as ada, password lovelace

All of a project in one file, with a database that is gone afterwards. `authorize` finds the user of
a handshake as Django's middleware does for a request, so only those who have logged in may listen.
"""

import argparse
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.contrib.auth import authenticate, get_user, get_user_model, login
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connection
from django.http import HttpRequest as DjangoRequest
from django.http import HttpResponse as DjangoResponse
from django.http import StreamingHttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
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

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Announcements</title>
{% if not user.is_authenticated %}
<form method="post" action="/login">{% csrf_token %}
  <label>Your name <input name="name" required autofocus></label>
  <label>Password <input name="password" type="password" required></label>
  <button>Log in</button>
</form>
{% else %}
<h1>Hello, {{ user.username }}</h1>
<form method="post" action="/announce">{% csrf_token %}
  <label>Announcement <input name="text" required autofocus></label> <button>Send</button>
</form>
<form method="post" action="/upload" enctype="multipart/form-data">{% csrf_token %}
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


def set_up(directory: Path) -> None:
    """Configure Django with a new database, in which there is one user."""
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
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(),
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    django.setup()
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("ada", password="lovelace")  # noqa: S106 - the docstring's
    connection.close()


def announce(request: DjangoRequest, text: str) -> None:
    """Tell everybody who listens. The environment of a request knows the server."""
    server: HttpServer = request.META["handy_ws.server"]
    server.websocket_manager.broadcast(f"{request.user.username}: {text}")


@require_GET
def index(request: DjangoRequest) -> DjangoResponse:
    """Show the page."""
    page = engines["django"].from_string(PAGE)
    return DjangoResponse(page.render({"user": request.user}, request))


@require_POST
def log_in(request: DjangoRequest) -> DjangoResponse:
    """Check the password."""
    name, password = request.POST["name"], request.POST["password"]
    user = authenticate(request, username=name, password=password)
    if user is None:
        return DjangoResponse("Wrong name or password", status=403)
    login(request, user)
    return redirect("/")


@require_POST
def post_announcement(request: DjangoRequest) -> DjangoResponse:
    """Broadcast what the form says."""
    if not request.user.is_authenticated:
        return DjangoResponse("Log in first", status=403)
    announce(request, request.POST["text"])
    return redirect("/")


@require_POST
def upload(request: DjangoRequest) -> DjangoResponse:
    """Tell everybody how large a file is."""
    if not request.user.is_authenticated:
        return DjangoResponse("Log in first", status=403)
    file = request.FILES["file"]
    announce(request, f"{file.name} has {file.size} bytes")
    return redirect("/")


@require_GET
def numbers(_: DjangoRequest) -> StreamingHttpResponse:
    """Stream a response: each part is made when the client has taken those before."""

    def lines() -> Iterator[str]:
        for number in range(100_000):
            yield f"{number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


urlpatterns = [
    path("", index),
    path("login", log_in),
    path("announce", post_announcement),
    path("upload", upload),
    path("numbers", numbers),
]


class Feed(WebSocketMessageHandler):
    """Says hello; what follows comes from the views."""

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Greet."""
        connection.send_text("Welcome")


def authorize(handshake: HttpRequest) -> HttpResponse | None:
    """Let in who has logged in."""
    request = WSGIRequest(handshake.environ)
    SessionMiddleware(lambda _: None).process_request(request)
    try:
        is_known = get_user(request).is_authenticated
    finally:
        close_old_connections()  # as Django does behind each of its own requests
    return None if is_known else HttpResponse("Log in first\n", 401)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve a Django application and WebSockets.")
    parser.add_argument("--port", type=int, default=8080)
    config = ServerConfig(port=parser.parse_args().port)
    with tempfile.TemporaryDirectory() as directory:
        set_up(Path(directory))
        paths = PathHandler(fallback=WsgiHandler(get_wsgi_application()))
        paths.add("/feed", WebSocketHandler(Feed(), authorize=authorize))
        with HttpServer(paths, config) as server:
            print(f"Serving at http://{server.address[0]}:{server.address[1]}", flush=True)
            server.wait()


if __name__ == "__main__":
    main()
