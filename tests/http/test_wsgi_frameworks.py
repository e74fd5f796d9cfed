"""Flask and Django behind the server: what only real applications do, and what they rely on.

The examples' tests show pages, logins and uploads in a browser; here it is about the protocol.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import django
import flask
import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path as url
from handy_ws import PathHandler, WsgiHandler

from tests.http.conftest import poll
from tests.http.raw_http import get, post
from tests.http.wsgi_apps import BIG, TIMES, Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.http.conftest import Serve

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
MULTIPART = "Content-Type: multipart/form-data; boundary=b"


ROWS = """
    WITH RECURSIVE rows(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM rows LIMIT %s)
    SELECT number FROM rows
"""


def form(name: str, content: bytes) -> bytes:
    """Return a form with one file."""
    field = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--b\r\n{field}\r\n\r\n".encode() + content + b"\r\n--b--\r\n"


def lines() -> Iterator[str]:
    for number in range(10_000):
        yield f"{number}\n"


LINES = "".join(lines()).encode()


def by_length(app: Any) -> Any:
    """Have an application read with sizes, as the validator wants and older servers need it."""

    def app_by_length(environ: dict[str, Any], start_response: Any) -> Any:
        del environ["wsgi.input_terminated"]
        return app(environ, start_response)

    return app_by_length


def flask_app(file: Path) -> Any:
    """Make a small Flask application."""
    app = flask.Flask(__name__)
    app.secret_key = secrets.token_hex()

    @app.route("/", methods=METHODS)
    def index() -> str:
        return f"{flask.request.method} {len(flask.request.get_data())}"

    @app.post("/upload")
    def upload() -> str:
        received = flask.request.files["file"]
        return f"{received.filename} {len(received.read())}"

    @app.get("/stream")
    def stream() -> Any:
        return lines()

    @app.get("/file")
    def download() -> Any:
        return flask.send_file(file)

    @app.get("/mine/<name>")
    def mine(name: str) -> Any:
        """Stream the visitor's own name, from the session, again and again."""
        flask.session["name"] = name

        def parts() -> Iterator[bytes]:
            for _ in range(TIMES):
                yield flask.session["name"].encode() * (1 << 20)

        return flask.stream_with_context(parts())

    return app


def django_app(file: Path) -> Any:
    """Make a small Django application; there can be one in a process only."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": file.parent / "db.sqlite3",
                }
            },
            MIDDLEWARE=[],
            SECRET_KEY=secrets.token_hex(),
        )
        django.setup()

    def index(request: Any) -> HttpResponse:
        return HttpResponse(f"{request.method} {len(request.body)}")

    def upload(request: Any) -> HttpResponse:
        received = request.FILES["file"]
        return HttpResponse(f"{received.name} {len(received.read())}")

    def download(_: Any) -> FileResponse:
        return FileResponse(file.open("rb"))

    def rows(_: Any) -> StreamingHttpResponse:
        """Stream rows as they come from the database, and make each a MiB."""
        cursor = connection.cursor()
        cursor.execute(ROWS, [TIMES])
        return StreamingHttpResponse(str(number) * (1 << 20) for (number,) in cursor)

    def row(_: Any) -> HttpResponse:
        with connection.cursor() as cursor:
            return HttpResponse(str(cursor.execute(ROWS, [1]).fetchone()))

    class Urls:
        urlpatterns = (
            url("row", row),
            url("rows", rows),
            url("", index),
            url("upload", upload),
            url("stream", lambda _: StreamingHttpResponse(lines())),
            url("file", download),
            url("closing", lambda _: StreamingHttpResponse(Urls.closing)),
        )
        closing: Any = None

    settings.ROOT_URLCONF = Urls
    return get_wsgi_application()


@pytest.fixture(params=[flask_app, django_app])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """One of the applications, with a file to download."""
    file = tmp_path / "file.bin"
    file.write_bytes(BIG * TIMES)
    return request.param(file)


@pytest.mark.filterwarnings("error")
def test_the_validator_has_nothing_to_say_to_real_applications(
    serve: Serve, app: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    client = serve.client(serve(WsgiHandler(validator(by_length(app)))))
    for method in METHODS:
        request = post("/", b"x" * 10).replace(b"POST", method.encode(), 1)
        response = client.request(request, method)
        assert response.status == 200
        if method not in {"HEAD", "OPTIONS"}:
            assert response.body == f"{method} 10".encode()
    assert client.get("/nowhere").status == 404
    assert client.get("/stream").body == LINES
    assert client.get("/file").body == BIG * TIMES
    assert client.request(get("/file").replace(b"GET", b"HEAD"), "HEAD").get("Content-Length")
    assert client.request(post("/upload", form("a.txt", BIG), MULTIPART)).body == b"a.txt 1048576"
    assert capfd.readouterr().err == ""


def test_a_chunked_upload_is_whole(serve: Serve, app: Any) -> None:
    body = form("a.txt", BIG)
    head = f"POST /upload HTTP/1.1\r\nHost: a\r\n{MULTIPART}\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert serve.client(serve(WsgiHandler(app))).request(request).body == b"a.txt 1048576"


def test_a_download_is_read_by_whichever_thread(serve: Serve, app: Any) -> None:
    server = serve(WsgiHandler(app), workers=1, spare_workers=0)
    slow = [serve.client(server, receive_buffer=4096) for _ in range(3)]
    for client in slow:
        client.send(get("/file"))
    assert serve.client(server).get("/").body == b"GET 0"
    for client in slow:
        client.read_fast()
        assert client.response().body == BIG * TIMES


def test_mounted_below_a_path_it_makes_its_own_links_from_there(serve: Serve) -> None:
    app = flask.Flask(__name__)

    @app.get("/there")
    def there() -> str:
        return flask.url_for("there")

    paths = PathHandler(fallback=WsgiHandler(app, script_name="/caf\u00e9"))
    assert serve.client(serve(paths)).get("/caf%C3%A9/there").body == "/caf\u00e9/there".encode()


def test_streams_with_a_context_keep_their_own(serve: Serve, tmp_path: Path) -> None:
    server = serve(WsgiHandler(flask_app(tmp_path)), workers=1)
    names = ["ada", "bob", "eve"]
    slow = [serve.client(server, receive_buffer=4096) for _ in names]
    for name, client in zip(names, slow, strict=True):
        client.send(get(f"/mine/{name}"))
        client.until(b"\r\n\r\n")
    assert serve.client(server).get("/").body == b"GET 0"
    for name, client in zip(names, slow, strict=True):
        client.read_fast()
        for _ in range(TIMES):
            assert client.exactly(int(client.until(b"\r\n"), 16)) == name.encode() * (1 << 20)
            client.until(b"\r\n")


def test_a_stream_from_a_database_keeps_its_connection(serve: Serve, tmp_path: Path) -> None:
    server = serve(WsgiHandler(django_app(tmp_path / "file")), workers=1)
    slow = [serve.client(server, receive_buffer=4096) for _ in range(3)]
    for client in slow:
        client.send(get("/rows"))
        client.until(b"\r\n\r\n")
    other = serve.client(server)
    for _ in range(10):
        assert other.get("/row").body == b"(1,)"  # and then Django closes its thread's connection
    for client in slow:
        client.read_fast()
        for number in range(1, TIMES + 1):
            assert client.exactly(int(client.until(b"\r\n"), 16)) == b"%d" % number * (1 << 20)
            client.until(b"\r\n")
        assert client.until(b"\r\n") == b"0\r\n"


# ---- Django's signals, by which it closes its database connections


class Signals:
    """Notes on which thread a request begins and ends, as far as Django says so."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.finished: list[int] = []
        request_started.connect(self.on_start)
        request_finished.connect(self.on_finish)

    def on_start(self, **_: Any) -> None:
        self.started.append(threading.get_ident())

    def on_finish(self, **_: Any) -> None:
        self.finished.append(threading.get_ident())

    def stop(self) -> None:
        request_started.disconnect(self.on_start)
        request_finished.disconnect(self.on_finish)


@pytest.fixture
def signals() -> Iterator[Signals]:
    signals = Signals()
    yield signals
    signals.stop()


def leave(client: Any) -> None:
    client.sock.close()


def read_all(client: Any) -> None:
    client.read_fast()
    for _ in range(TIMES):
        client.until(b"\r\n")
        assert client.exactly(len(BIG)) == BIG
        client.until(b"\r\n")
    assert client.until(b"\r\n") == b"0\r\n"


@pytest.mark.parametrize("end", [read_all, leave])
def test_a_stream_is_closed_on_its_thread_and_the_request_finished(
    serve: Serve, signals: Signals, tmp_path: Path, end: Callable[[Any], None]
) -> None:
    app = django_app(tmp_path)
    body = settings.ROOT_URLCONF.closing = Closing(*[BIG] * TIMES)
    client = serve.client(serve(WsgiHandler(app), workers=1), receive_buffer=4096)
    client.send(get("/closing"))
    client.until(b"\r\n\r\n")
    end(client)
    poll(lambda: signals.finished)
    assert signals.finished == signals.started
    assert body.closed == 1
    assert body.threads == set(signals.started)


def test_a_request_is_finished_once_whatever_comes_of_it(
    serve: Serve, signals: Signals, tmp_path: Path
) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(BIG)
    client = serve.client(serve(WsgiHandler(django_app(file))))
    for count, target in enumerate(["/", "/nowhere", "/file", "/stream"], 1):
        assert client.get(target).body
        client.request(get(target).replace(b"GET", b"HEAD"), "HEAD")
        poll(lambda count=count: len(signals.finished) == 2 * count)  # type: ignore[misc]
    assert len(signals.started) == 8
