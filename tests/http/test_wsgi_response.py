"""What WSGI applications answer: how it is framed, what is refused, and what happens to faults."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import WsgiHandler
from handy_ws.http.stream import PlainStream

from tests.http.conftest import poll, wait
from tests.http.raw_http import get
from tests.http.wsgi_apps import PLAIN, Closing, answering, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.http.conftest import Serve
    from tests.http.raw_http import Response

HEAD = get().replace(b"GET", b"HEAD")


def fetch(serve: Serve, app: Callable[..., Any], request: bytes = get("/")) -> Response:
    """Return what an application answers."""
    return serve.client(serve(WsgiHandler(app))).request(request, request.split(b" ")[0].decode())


# ---- framing


@pytest.mark.parametrize(
    ("parts", "body", "field", "value"),
    [
        ([b"whole"], b"whole", "Content-Length", "5"),
        ([], b"", "Content-Length", "0"),
        ([b""], b"", "Content-Length", "0"),
        ([b"", b"in ", b"", b"parts"], b"in parts", "Content-Length", "8"),
        ((b"a ", b"tuple"), b"a tuple", "Content-Length", "7"),
        (iter([b"", b"la", b"", b"ter"]), b"later", "Transfer-Encoding", "chunked"),
        (iter([b"", b""]), b"", "Transfer-Encoding", "chunked"),
    ],
    ids=["one", "none", "empty", "list", "tuple", "iterator", "empty iterator"],
)
def test_the_body_is_framed_as_what_is_known_of_it_allows(
    serve: Serve, parts: Iterable[bytes], body: bytes, field: str, value: str
) -> None:
    response = fetch(serve, answering(parts))
    assert (response.body, response.get(field)) == (body, value)


def test_http_1_0_gets_what_it_can_read(serve: Serve) -> None:
    request = b"GET / HTTP/1.0\r\n\r\n"
    response = fetch(serve, answering(iter([b"in ", b"parts"])), request)
    assert response.body == b"in parts"
    assert response.get("Transfer-Encoding") is None


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


@pytest.mark.parametrize("parts", [[b"whole"], iter([b"", b"whole"])], ids=["list", "iterator"])
def test_a_short_response_is_sent_in_one_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, parts: Iterable[bytes]
) -> None:
    sent: list[bytes] = []

    def send(self: PlainStream, data: bytes, flags: int = 0) -> int:
        sent.append(bytes(data))
        return super(PlainStream, self).send(data, flags)

    client = serve.client(serve(WsgiHandler(answering(parts, ("Content-Length", "5")))))
    monkeypatch.setattr(PlainStream, "send", send, raising=False)
    assert client.get().body == b"whole"
    assert [data[-5:] for data in sent] == [b"whole"]


def test_nothing_is_added_to_what_the_application_says(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = [("Location", "/\u00c3\u00a4"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("303 Over There", headers)
        return [b""]

    response = fetch(serve, app)
    assert (response.status, response.phrase) == (303, "Over There")
    assert response.get("Content-Type") is None
    assert response.get("Location") == "/\u00c3\u00a4"  # the bytes that the application meant
    assert [value for name, value in response.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_what_the_server_would_add_may_be_said_by_the_application(serve: Serve) -> None:
    said = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("server", "mine")]
    response = fetch(serve, answering([b"x"], *said))
    assert [field for field in response.headers if field[0].lower() in {"date", "server"}] == said


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_content_has_none(serve: Serve, status: str) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Closing:
        start_response(status, [("Content-Length", "4"), ("ETag", '"a"')])
        return body

    body = Closing(b"body")
    client = serve.client(serve(WsgiHandler(app)))
    for count in (1, 2):  # and the connection goes on
        response = client.get()
        assert (response.status, response.get("ETag")) == (int(status[:3]), '"a"')
        assert response.get("Content-Length") is None
        assert response.get("Transfer-Encoding") is None
        assert body.closed == count


def test_head_is_answered_without_a_body_and_the_body_is_closed(serve: Serve) -> None:
    body = Closing(b"never seen")
    response = fetch(serve, answering(body, ("Content-Length", "10")), HEAD)
    assert (response.status, response.body) == (200, b"")
    assert response.get("Content-Length") == "10"
    poll(lambda: body.closed == 1)


def test_head_tells_no_length_that_get_might_not_have(serve: Serve) -> None:
    assert fetch(serve, answering([]), HEAD).get("Content-Length") is None
    assert fetch(serve, answering([b""]), HEAD).get("Content-Length") is None
    assert fetch(serve, answering([b"body"]), HEAD).get("Content-Length") == "4"


def test_files_are_wrapped_and_closed(serve: Serve) -> None:
    file = io.BytesIO(b"f" * 1_000_000)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file, 4096)  # type: ignore[no-any-return]

    assert fetch(serve, app).body == b"f" * 1_000_000
    poll(lambda: file.closed)


def test_whatever_can_be_read_is_a_file(serve: Serve) -> None:
    class Reader:  # neither closes nor iterates
        def __init__(self) -> None:
            self.read = io.BytesIO(b"r" * 100_000).read

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [*PLAIN, ("Content-Length", "70000")])
        return environ["wsgi.file_wrapper"](Reader())  # type: ignore[no-any-return]

    client = serve.client(serve(WsgiHandler(app)))
    assert client.get().body == b"r" * 70_000
    assert client.get().body == b"r" * 70_000


# ---- the length


@pytest.mark.parametrize("parts", [[b"abc"], [b"ab", b"c"], [b"abcdef"]], ids=str)
def test_no_more_is_sent_or_asked_for_than_was_promised(serve: Serve, parts: list[bytes]) -> None:
    def body() -> Iterator[bytes]:
        yield from parts
        fail()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = answering(body(), ("Content-Length", "3"))
        return app(environ, start_response)  # type: ignore[no-any-return]

    client = serve.client(serve(WsgiHandler(app)))
    for _ in range(2):
        assert client.get().body == b"abc"


def test_less_than_was_promised_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    body = Closing(b"abc", b"d")
    client = serve.client(serve(WsgiHandler(answering(body, ("Content-Length", "5")))))
    client.send(get())
    assert client.to_end().endswith(b"\r\n\r\nabcd")
    poll(lambda: body.closed == 1)
    assert "lacks 1 bytes of its Content-Length" in caplog.text


def test_a_list_of_another_length_is_a_fault(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    for length in ("3", "5"):
        assert fetch(serve, answering([b"ab", b"cd"], ("Content-Length", length))).status == 500
        assert f"the Content-Length is {length}" in caplog.text


# ---- faults


@pytest.mark.parametrize("parts", [[b"all"], [b"a", b"b"], [b"a", b"fail"], [b"fail"]], ids=str)
def test_the_body_is_closed_once(
    serve: Serve, parts: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    body = Closing(*parts)
    client = serve.client(serve(WsgiHandler(answering(body))))
    client.send(get("/", "Connection: close"))
    answer = client.to_end()
    assert answer.startswith(b"HTTP/1.1 500" if parts[0] == b"fail" else b"HTTP/1.1 200")
    assert answer.endswith(b"0\r\n\r\n") is (b"fail" not in parts)
    poll(lambda: body.closed == 1)
    assert ("a deliberate fault" in caplog.text) is (b"fail" in parts)


def test_the_body_of_a_response_that_never_begins_is_closed(serve: Serve) -> None:
    body = Closing(b"ab")
    assert fetch(serve, lambda *_: body).status == 500
    poll(lambda: body.closed == 1)


def test_the_body_is_closed_when_the_client_leaves(serve: Serve, events: Callable[[], Any]) -> None:
    went = events()

    def parts() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000
            wait(went)

    body = Closing()
    body.parts = parts()
    client = serve.client(serve(WsgiHandler(answering(body))))
    client.send(get())
    client.until(b"x" * 1000)
    client.sock.close()
    went.set()
    poll(lambda: body.closed == 1)


def test_a_failing_close_is_logged_and_the_server_goes_on(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Closing):
        def close(self) -> None:
            fail()

    client = serve.client(serve(WsgiHandler(answering(Failing(b"a", b"b")), "")))
    for _ in range(2):
        assert client.get().body == b"ab"
    poll(lambda: caplog.text.count("closing a response failed") == 2)


def test_an_error_before_the_body_replaces_the_response(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b""
        try:
            fail()
        except ValueError:
            start_response("503 Broken", PLAIN, sys.exc_info())
        yield b"sorry"

    response = fetch(serve, app)
    assert (response.status, response.body) == (503, b"sorry")


def test_an_error_behind_the_first_part_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert "a deliberate fault" in caplog.text


def start_twice(start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"x"]


def write_text(start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", PLAIN)("text")
    return [b"x"]


FAULTS: dict[str, Callable[..., Any]] = {
    "start twice": start_twice,
    "write text": write_text,
    "no start": lambda _: [b"no start"],
    "no body": lambda start_response: start_response("200 OK", PLAIN) and None,
    "bytes": lambda start_response: start_response("200 OK", PLAIN) and b"text",
    "text": lambda start_response: start_response("200 OK", PLAIN) and "text",
    "list of text": lambda start_response: start_response("200 OK", PLAIN) and [b"a", "b"],
    "empty text": lambda start_response: start_response("200 OK", PLAIN) and iter([""]),
    "number": lambda start_response: start_response("200 OK", PLAIN) and [7],
    "fails": lambda _: fail(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_application_is_answered_for_with_500(
    serve: Serve, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve.client(serve(WsgiHandler(lambda _, start: FAULTS[name](start))))
    for _ in range(2):
        response = client.get()
        assert (response.status, response.body) == (500, b"Internal Server Error\n")
    assert "the handler of GET / failed" in caplog.text


# ---- what start_response refuses


BAD_STATUSES: list[Any] = [
    "OK", "200OK", "20 OK", "2000 OK", "", "100 Continue", "101 Switching Protocols",
    "200 OK\r\nX: y", "200 \u20ac", "200 a\0b", b"200 OK", 200, None,
]  # fmt: skip
BAD_FIELDS: list[Any] = [
    ("X", "1\r\nX-Evil: 2"), ("X", "1\n"), ("X", "a\0"), ("X", "\u20ac"), ("X", 5), ("X", None),
    ("X", b"1"), ("X-One\r\nX-Evil", "1"), ("X One", "1"), ("X:", "1"), ("", "1"), (b"X", "1"),
    ("Content-Length", "x"), ("Content-Length", "-1"), ("Content-Length", "1_0"),
    ("Content-Length", "\u0661"), ("Content-Length", " 3"), ("Content-Length", ""),
    ("Connection", "close"), ("Keep-Alive", "timeout=9"), ("transfer-encoding", "chunked"),
    ("Upgrade", "websocket"), ("TE", "trailers"), ("Proxy-Authenticate", "Basic"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers"),
    [(status, PLAIN) for status in BAD_STATUSES]
    + [("200 OK", [*PLAIN, field]) for field in BAD_FIELDS]
    + [("200 OK", [("Content-Length", "1"), ("content-length", "1")])],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused_where_it_is_said(
    serve: Serve, status: Any, headers: Any
) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            start_response(status, headers)
        except (ValueError, TypeError) as error:
            start_response("500 Refused", PLAIN)
            return [str(error).encode()]
        return [b"x"]

    response = fetch(serve, app)
    assert (response.status, response.phrase) == (500, "Refused")
    assert response.body
    assert response.get("X-Evil") is None
