"""WSGI applications behind the server: PEP 3333, and what programs rely on."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from handy_ws import HttpResponse, PathHandler, WsgiHandler

from tests.http.conftest import poll
from tests.http.raw_http import get, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.http.conftest import Serve
    from tests.http.raw_http import Response

PLAIN = [("Content-Type", "text/plain")]


def fetch(serve: Serve, app: Callable[..., Any], request: bytes = get("/")) -> Response:
    """Return what an application answers."""
    return serve.client(serve(WsgiHandler(app))).request(request, request.split(b" ")[0].decode())


def fail() -> None:
    raise ValueError("a deliberate fault")


class Closing:
    """A body that notes how often it is closed."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            if part == b"fail":
                fail()
            yield part

    def close(self) -> None:
        self.closed += 1


def answering(result: Iterable[bytes], *headers: tuple[str, str]) -> Callable[..., Any]:
    """Return an application that always answers the same."""

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [*PLAIN, *headers])
        return result

    return app


# ---- the letter


@pytest.mark.parametrize("request_bytes", [get("/a/b?c=d"), post("/", b"x" * 100_000)])
@pytest.mark.filterwarnings("error")
def test_the_validator_of_the_standard_library_has_nothing_to_say(
    serve: Serve, request_bytes: bytes
) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        size = len(environ["wsgi.input"].read(200_000))
        start_response("200 OK", PLAIN)
        return [str(size).encode()]

    response = fetch(serve, validator(app), request_bytes)
    assert (response.status, response.body) == (200, str(request_bytes.count(b"x")).encode())


def test_the_environment(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert environ["handy_ws.server"] is server
        start_response("200 OK", PLAIN)
        keys = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTP_X_ONE")
        return [json.dumps([environ[key] for key in keys]).encode()]

    server = serve(WsgiHandler(app, script_name="/shop"))
    client = serve.client(server)
    answer = client.get("/shop/%C3%A4/b?c=%20", "X-One: 1")
    assert json.loads(answer.body) == ["GET", "/shop", "/\u00c3\u00a4/b", "c=%20", "1"]
    assert json.loads(client.get("/shop", "X-One: 1").body)[2] == ""
    assert client.get("/shopping").status == 404
    assert client.get("/").status == 404


@pytest.mark.parametrize("script_name", ["shop", "/", "/shop/"])
def test_a_malformed_script_name_is_refused(script_name: str) -> None:
    with pytest.raises(ValueError, match="script_name"):
        WsgiHandler(answering([]), script_name=script_name)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="must be callable"):
        WsgiHandler("app")  # type: ignore[arg-type]


# ---- bodies


@pytest.mark.parametrize(
    ("parts", "framing"),
    [
        ([b"whole"], ("content-length", "5")),
        ([], ("transfer-encoding", "chunked")),
        ([b""], ("content-length", "0")),
        ([b"", b"in ", b"", b"parts"], ("transfer-encoding", "chunked")),
        (iter([b"", b"later"]), ("transfer-encoding", "chunked")),
    ],
)
def test_the_body_is_framed_as_what_is_known_of_it_allows(
    serve: Serve, parts: Iterable[bytes], framing: tuple[str, str]
) -> None:
    expected = b"later" if not isinstance(parts, list) else b"".join(parts)
    response = fetch(serve, answering(parts))
    assert response.body == expected
    assert response.get(framing[0]) == framing[1]


def test_a_response_is_sent_as_it_is_made(serve: Serve, events: Callable[[], Any]) -> None:
    go_on = events()

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        go_on.wait(10)
        yield b"second"

    client = serve.client(serve(WsgiHandler(app)))
    client.send(get("/"))
    assert client.until(b"first\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    go_on.set()
    assert b"second" in client.until(b"0\r\n\r\n")


def test_what_is_written_comes_first(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    assert fetch(serve, app).body == b"one two three"


def test_files_are_wrapped_and_closed(serve: Serve) -> None:
    file = io.BytesIO(b"f" * 100_000)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [*PLAIN, ("Content-Length", "100000")])
        return environ["wsgi.file_wrapper"](file, 4096)  # type: ignore[no-any-return]

    assert fetch(serve, app).body == b"f" * 100_000
    poll(lambda: file.closed)


def test_nothing_is_added_to_what_the_application_says(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = [("Location", "/there"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("303 Over There", headers)
        return [b""]

    response = fetch(serve, app)
    assert (response.status, response.phrase) == (303, "Over There")
    assert response.get("Content-Type") is None
    assert response.get("Location") == "/there"
    assert [value for name, value in response.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_head_is_answered_without_a_body_and_the_body_is_closed(serve: Serve) -> None:
    body = Closing(b"never seen")
    response = fetch(
        serve, answering(body, ("Content-Length", "10")), get().replace(b"GET", b"HEAD")
    )
    assert (response.status, response.body) == (200, b"")
    assert response.get("Content-Length") == "10"
    poll(lambda: body.closed == 1)


# ---- faults


@pytest.mark.parametrize("parts", [[b"all"], [b"a", b"b"], [b"a", b"fail"], [b"fail"]])
def test_the_body_is_closed_once(serve: Serve, parts: list[bytes]) -> None:
    body = Closing(*parts)
    client = serve.client(serve(WsgiHandler(answering(body))))
    client.send(get("/", "Connection: close"))
    answer = client.to_end()
    assert answer.startswith(b"HTTP/1.1 500" if parts[0] == b"fail" else b"HTTP/1.1 200")
    assert answer.endswith(b"0\r\n\r\n") is (b"fail" not in parts)
    poll(lambda: body.closed == 1)


def test_an_error_before_the_body_replaces_the_response(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", PLAIN)
        try:
            fail()
        except ValueError:
            start_response("503 Broken", PLAIN, sys.exc_info())
        return [b"sorry"]

    response = fetch(serve, app)
    assert (response.status, response.body) == (503, b"sorry")


def test_an_error_behind_the_first_part_ends_the_connection(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"begun"
        try:
            fail()
        except ValueError:
            start_response("500 Broken", PLAIN, sys.exc_info())
        yield b"never"

    client = serve.client(serve(WsgiHandler(app)))
    client.send(get("/"))
    answer = client.to_end()
    assert answer.endswith(b"5\r\nbegun\r\n")
    assert b"never" not in answer


def start_twice(start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"x"]


def yield_text(start_response: Callable[..., Any]) -> list[str]:
    start_response("200 OK", PLAIN)
    return ["text"]


def split_a_header(start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("X-One", "1\r\nX-Two: 2")])
    return [b"x"]


@pytest.mark.parametrize(
    "fault",
    [
        start_twice,
        yield_text,
        split_a_header,
        lambda _: [b"no start"],
        lambda _: None,
        lambda start_response: start_response("nonsense", PLAIN) and [b"x"],
    ],
    ids=["start twice", "text", "split header", "no start", "no body", "no status"],
)
def test_a_faulty_application_is_answered_for_with_500(
    serve: Serve, fault: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = fetch(serve, lambda _, start_response: fault(start_response))
    assert (response.status, response.body) == (500, b"Internal Server Error\n")
    assert "failed" in caplog.text or "cannot be sent" in caplog.text


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
