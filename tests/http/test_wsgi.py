"""WSGI applications behind the server: PEP 3333, and what programs rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from handy_ws import HttpResponse, PathHandler, WsgiHandler

from tests.http.raw_http import get, post
from tests.http.wsgi_apps import PLAIN, answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.conftest import Serve
    from tests.http.raw_http import Response

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def fetch(serve: Serve, app: Callable[..., Any], request: bytes = get("/")) -> Response:
    """Return what an application answers."""
    return serve.client(serve(WsgiHandler(app))).request(request, request.split(b" ")[0].decode())


def chunked(target: str, *chunks: bytes) -> bytes:
    """Return the bytes of a POST request whose body comes in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return f"POST {target} HTTP/1.1\r\nHost: localhost\r\n".encode() + CHUNKED + body


# ---- the environment


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
def test_the_validator_of_the_standard_library_has_nothing_to_say(
    serve: Serve, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        size = len(environ["wsgi.input"].read(200_000))
        environ["wsgi.errors"].write("a word to the log\n")
        start_response("200 OK", PLAIN)
        return [f"{environ['REQUEST_METHOD']} {size}".encode()]

    client = serve.client(serve(WsgiHandler(validator(app))))
    for size in (0, 10, 100_000):
        request = post("/a/b?c=d", b"x" * size).replace(b"POST", method.encode(), 1)
        response = client.request(request, method)
        assert response.status == 200
        assert response.body == (b"" if method == "HEAD" else f"{method} {size}".encode())
    assert capfd.readouterr().err == "a word to the log\n" * 3


def test_the_environment(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert environ["handy_ws.server"] is server
        assert environ["wsgi.version"] == (1, 0)
        assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == (True, False)
        start_response("200 OK", PLAIN)
        keys = ("REQUEST_METHOD", "QUERY_STRING", "HTTP_X_ONE", "wsgi.url_scheme")
        return [json.dumps([environ[key] for key in keys]).encode()]

    server = serve(WsgiHandler(app))
    answer = serve.client(server).get("/?c=%20", "X-One: 1", "X_One: 2")
    assert json.loads(answer.body) == ["GET", "c=%20", "1", "http"]


@pytest.mark.parametrize(
    ("mount", "target", "expected"),
    [
        ("", "/%C3%A4/b", ("", "/\u00c3\u00a4/b")),
        ("", "/a%2Fb%FF", ("", "/a/b\u00ff")),
        ("", "//a", ("", "//a")),
        ("", "http://localhost/a?b", ("", "/a")),
        ("/shop", "/shop", ("/shop", "")),
        ("/shop", "/shop/", ("/shop", "/")),
        ("/shop", "/shop//a", ("/shop", "//a")),
        ("/shop", "/sh%6Fp%2Fa", ("/shop", "/a")),
        ("/caf\u00e9", "/caf%C3%A9/a", ("/caf\u00c3\u00a9", "/a")),
        ("/a/b", "/a/b/c", ("/a/b", "/c")),
        ("/shop", "/shopping", None),
        ("/shop", "/", None),
        ("/shop", "//shop/a", None),
        ("/caf\u00e9", "/cafe/a", None),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_path_is_split_where_the_application_is_mounted(
    serve: Serve, mount: str, target: str, expected: tuple[str, str] | None
) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", PLAIN)
        return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"]]).encode()]

    response = serve.client(serve(WsgiHandler(validator(app), script_name=mount))).get(target)
    if expected is None:
        assert response.status == 404
    else:
        assert tuple(json.loads(response.body)) == expected


@pytest.mark.parametrize("script_name", ["shop", "/", "/shop/"])
def test_a_malformed_script_name_is_refused(script_name: str) -> None:
    with pytest.raises(ValueError, match="script_name"):
        WsgiHandler(answering([]), script_name=script_name)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="must be callable"):
        WsgiHandler("app")  # type: ignore[arg-type]


# ---- the request body


def read_all(stream: Any) -> list[bytes]:
    return [stream.read(0), stream.read()]


def read_in_parts(stream: Any) -> list[bytes]:
    return [stream.read(3), stream.read(1), stream.read(1_000_000)]


def read_by_lines(stream: Any) -> list[bytes]:
    return [stream.readline(), stream.readline(3), *stream.readlines(1), *stream.readlines()]


def iterate(stream: Any) -> list[bytes]:
    return list(stream)


@pytest.mark.parametrize("read", [read_all, read_in_parts, read_by_lines, iterate])
@pytest.mark.parametrize("filler", [b"", b"x" * 100_000], ids=["in memory", "in a file"])
@pytest.mark.parametrize("framed", [post, chunked])
def test_the_body_can_be_read_as_a_file_and_ends_where_it_ends(
    serve: Serve,
    framed: Callable[[str, bytes], bytes],
    filler: bytes,
    read: Callable[[Any], list[bytes]],
) -> None:
    body = b"one\ntwo four\n" + filler + b"\nend"

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        stream = environ["wsgi.input"]
        parts = read(stream)
        beyond = [stream.read(), stream.read(10), stream.readline(), *stream]
        start_response("200 OK", PLAIN)
        return [b"", *parts] if beyond == [b"", b"", b""] else [b"more than all"]

    # What comes behind the body is the next request, whatever the application reads.
    client = serve.client(serve(WsgiHandler(app)))
    assert client.request(framed("/", body) + framed("/", body)).body == body
    assert client.response().body == body


@pytest.mark.parametrize(
    "request_bytes",
    [get("/"), post("/", b""), chunked("/")],
    ids=["none", "of length 0", "without chunks"],
)
def test_without_a_body_there_is_nothing_to_read(serve: Serve, request_bytes: bytes) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", PLAIN)
        stream = environ["wsgi.input"]
        return [repr([stream.read(), stream.readline(), [*stream], stream.readlines()]).encode()]

    assert fetch(serve, app, request_bytes).body == b"[b'', b'', [], []]"


def test_a_chunked_body_looks_as_if_it_had_come_with_its_length(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", PLAIN)
        length = environ["CONTENT_LENGTH"]
        assert "HTTP_TRANSFER_ENCODING" not in environ
        return [length.encode(), b" ", environ["wsgi.input"].read(int(length))]

    client = serve.client(serve(WsgiHandler(validator(app))))
    assert client.request(chunked("/", b"one", b"two")).body == b"6 onetwo"
    assert client.request(chunked("/", b"x" * 100_000)).body == b"100000 " + b"x" * 100_000
    assert client.request(chunked("/")).body == b"0 "


# ---- beside other handlers


def test_an_application_takes_what_no_rule_matches(serve: Serve) -> None:
    paths = PathHandler(fallback=WsgiHandler(answering([b"from the app"])))
    paths.add("/own", lambda _: HttpResponse("own"), methods=["GET"])
    client = serve.client(serve(paths))
    assert client.get("/own").body == b"own"
    assert client.get("/").body == b"from the app"
    assert client.get("/a//b").body == b"from the app"
    assert client.request(post("/own", b"")).status == 405


def test_a_fallback_must_be_a_handler() -> None:
    with pytest.raises(TypeError, match="handler"):
        PathHandler(fallback="app")  # type: ignore[arg-type]
