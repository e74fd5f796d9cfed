"""Responses: framing, headers, iterators, errors of handlers."""

from __future__ import annotations

import logging
import threading
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpRequestHandler, HttpResponse
from werkzeug.exceptions import NotFound, abort
from werkzeug.utils import redirect

from tests.http.conftest import wait
from tests.http.raw_http import get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

HTTP_1_0 = b"GET / HTTP/1.0\r\n\r\n"


def answer(*arguments: Any, **options: Any) -> Callable[[HttpRequestContext], HttpResponse]:
    """Return a handler that always makes the same response."""
    return lambda _: HttpResponse(*arguments, **options)


def test_a_handler_that_does_nothing_answers_200_and_empty(serve: Serve) -> None:
    response = serve.client(serve(lambda _: None)).get()
    assert (response.status, response.phrase, response.body) == (200, "OK", b"")
    assert response.get("Content-Length") == "0"


def test_a_handler_fills_the_response_of_the_context(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        assert context.response is context.response
        context.response.status_code = 201
        context.response.set_data("text")
        context.response.headers["X-Mine"] = "\xe4"

    response = serve.client(serve(handle)).get()
    assert (response.status, response.body, response.get("X-Mine")) == (201, b"text", "\xe4")


def test_a_handler_may_be_an_object(serve: Serve) -> None:
    class Handler(HttpRequestHandler):
        def handle(self, context: HttpRequestContext) -> HttpResponse:
            return HttpResponse(context.head.path)

    assert serve.client(serve(Handler())).get("/path").body == b"/path"


def test_a_handler_may_replace_the_response(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.response.data = "first"
        context.response = HttpResponse("second")

    assert serve.client(serve(handle)).get().body == b"second"


def test_the_server_and_the_addresses_are_known_to_the_handler(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse:
        environ = context.request.environ
        assert context.server is server
        assert environ["SERVER_PORT"] == str(server.address[1])
        assert environ["REMOTE_PORT"] == str(context.source.remote_address[1])
        return HttpResponse(context.request.remote_addr)

    server = serve(handle)
    assert serve.client(server).get().body == b"127.0.0.1"


def test_every_response_has_date_and_server(serve: Serve) -> None:
    client = serve.client(serve(answer("x")))
    response = client.get()
    assert response.get("Server") == "handy_ws"
    assert parsedate_to_datetime(response.get("Date") or "").tzinfo is not None
    assert client.request(b"bad\r\n\r\n").get("Date")


def test_default_headers_unless_the_response_has_its_own(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/own":
            context.response.headers["x-frame-options"] = "SAMEORIGIN"

    defaults = {"X-Frame-Options": "DENY", "Server": "mine"}
    client = serve.client(serve(handle, default_headers=defaults))
    response = client.get("/")
    assert (response.get("X-Frame-Options"), response.get("Server")) == ("DENY", "mine")
    assert client.get("/own").get("X-Frame-Options") == "SAMEORIGIN"
    assert client.request(b"bad\r\n\r\n").get("X-Frame-Options") == "DENY"


def test_an_iterator_is_sent_in_chunks(serve: Serve) -> None:
    client = serve.client(serve(answer(iter(["one", "", b"two"]))))
    response = client.get()
    assert response.get("Transfer-Encoding") == "chunked"
    assert response.get("Content-Length") is None
    assert response.body == b"onetwo"
    assert client.get().body == b""


def test_an_iterator_for_http_1_0_ends_with_the_connection(serve: Serve) -> None:
    client = serve.client(serve(answer(iter(["one", "two"]))))
    response = client.request(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert response.get("Transfer-Encoding") is None
    assert response.get("Connection") == "close"
    assert response.body == b"onetwo"


def test_an_iterator_of_known_length_is_not_chunked(serve: Serve) -> None:
    client = serve.client(serve(answer(iter(["one", "two"]), headers={"Content-Length": "6"})))
    response = client.get()
    assert response.get("Transfer-Encoding") is None
    assert response.body == b"onetwo"


def test_head_has_the_fields_and_no_body(serve: Serve) -> None:
    client = serve.client(serve(answer("text")))
    response = client.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD")
    assert response.get("Content-Length") == "4"
    assert client.get().body == b"text"


def test_head_does_not_run_the_iterator_but_closes_the_response(serve: Serve) -> None:
    closed = threading.Event()

    def never() -> Iterator[bytes]:
        raise AssertionError
        yield b""

    def handle(_: HttpRequestContext) -> HttpResponse:
        response = HttpResponse(never())
        response.call_on_close(closed.set)
        return response

    client = serve.client(serve(handle))
    assert client.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD").status == 200
    wait(closed)


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(serve: Serve, status: int) -> None:
    client = serve.client(serve(answer("ignored", status=status)))
    for _ in range(2):
        response = client.get()
        assert response.status == status
        assert response.get("Transfer-Encoding") is None
        assert response.get("Content-Length") is None


def test_equal_fields_stay_apart(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.response.set_cookie("a", "1")
        context.response.set_cookie("b", "2")

    response = serve.client(serve(handle)).get()
    cookies = [value for name, value in response.headers if name == "Set-Cookie"]
    assert cookies == ["a=1; Path=/", "b=2; Path=/"]


def test_framing_is_not_for_handlers_to_choose(serve: Serve) -> None:
    headers = {"Transfer-Encoding": "gzip", "Keep-Alive": "timeout=99", "Connection": "keep-alive"}
    response = serve.client(serve(answer("text", headers=headers))).get()
    assert response.get("Transfer-Encoding") is None
    assert response.get("Keep-Alive") is None
    assert response.get("Connection") is None
    assert response.body == b"text"


def test_a_handler_may_name_connection_options(serve: Serve) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    client = serve.client(serve(answer("", status=426, headers=headers)))
    assert client.get().get("Connection") == "upgrade"
    assert client.get().status == 426


def test_a_handler_may_close_the_connection(serve: Serve) -> None:
    client = serve.client(serve(answer("x", headers={"Connection": "close"})))
    assert client.get().get("Connection") == "close"
    assert client.is_closed()


def test_a_redirect_of_werkzeug(serve: Serve) -> None:
    response = serve.client(serve(lambda _: redirect("/ä b"))).get()
    assert (response.status, response.get("Location")) == (302, "/%C3%A4%20b")


def test_an_absolute_location_if_the_response_asks_for_it(serve: Serve) -> None:
    def handle(_: HttpRequestContext) -> HttpResponse:
        response = HttpResponse(status=302, headers={"Location": "/there"})
        response.autocorrect_location_header = True
        return response

    response = serve.client(serve(handle)).get()
    assert response.get("Location") == "http://localhost/there"


# What handlers do wrong


def test_an_exception_is_logged_and_answered_with_500(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/":
            raise ZeroDivisionError("by handler")

    client = serve.client(serve(handle, workers=1))
    assert client.get().status == 500
    assert client.get("/well").status == 200
    record = caplog.records[0]
    assert record.name == "handy_ws"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_an_exit_in_a_handler_does_not_end_the_worker(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/":
            raise SystemExit(1)

    client = serve.client(serve(handle, workers=1))
    assert client.get().status == 500
    assert client.get("/well").status == 200


def test_an_http_exception_is_its_response(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/":
            raise NotFound
        abort(418)

    client = serve.client(serve(handle))
    assert client.get("/").status == 404
    assert client.get("/tea").status == 418


BAD_RESPONSES: dict[str, Callable[[], Any]] = {
    "not a response": lambda: "text",
    "longer than it says": lambda: HttpResponse(["xyz"], headers={"Content-Length": "2"}),
    "shorter than it says": lambda: HttpResponse(["x"], headers={"Content-Length": "2"}),
    "length with a sign": lambda: HttpResponse(["x"], headers={"Content-Length": "+1"}),
    "length without a number": lambda: HttpResponse(["x"], headers={"Content-Length": "x"}),
    "100 is not final": lambda: HttpResponse("x", status=100),
    "101 without an upgrade": lambda: HttpResponse("x", status=101),
    "two lines of status": lambda: HttpResponse("x", status="200 OK\r\nX: y"),
    "NUL in a value": lambda: HttpResponse("x", headers={"X": "a\0b"}),
    "CRLF in a name": lambda: HttpResponse("x", headers={"X\r\nY": "a"}),
    "space in a name": lambda: HttpResponse("x", headers={"X Y": "a"}),
    "no name": lambda: HttpResponse("x", headers={"": "a"}),
    "not latin-1": lambda: HttpResponse("x", headers={"X": "\u20ac"}),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_what_cannot_be_sent_is_logged_and_answered_with_500(
    serve: Serve, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    client = serve.client(serve(lambda _: BAD_RESPONSES[name]()))
    response = client.get()
    assert response.status == 500
    assert response.get("X") is None
    assert client.get().status == 500
    assert caplog.records


def inject(name: str, value: str) -> HttpResponse:
    """Return a response with a field that werkzeug has not checked."""
    response = HttpResponse("x")
    response.headers._list.append((name, value))
    return response


@pytest.mark.parametrize("evil", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\0"])
@pytest.mark.parametrize("where", ["name", "value"])
def test_no_header_can_be_injected(serve: Serve, evil: str, where: str) -> None:
    field = ("X", evil) if where == "value" else (evil, "x")
    response = serve.client(serve(lambda _: inject(*field))).get()
    assert response.status == 500
    assert response.get("X-Evil") is None


@pytest.mark.parametrize(
    ("parts", "length"),
    [([b"abc"], 4), ([b"ab", 7], 4)],
    ids=["less than promised", "not bytes"],
)
def test_a_body_that_breaks_its_promise_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture, parts: list[Any], length: int
) -> None:
    handler = answer(iter(parts), headers={"Content-Length": str(length)})
    client = serve.client(serve(handler))
    client.send(get())
    received = client.to_end()
    assert len(received.partition(b"\r\n\r\n")[2]) < 4
    assert caplog.records


@pytest.mark.parametrize("parts", [[b"abc"], [b"ab", b"c"], [b"a", b"", b"bc"]], ids=str)
def test_no_more_is_sent_than_was_promised(serve: Serve, parts: list[bytes]) -> None:
    def handle(_: HttpRequestContext) -> HttpResponse:
        return HttpResponse(iter(parts), headers={"Content-Length": "2"})

    client = serve.client(serve(handle))
    for _ in range(3):
        assert client.get().body == b"ab"


def test_an_iterator_that_raises_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    closed = threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            yield b"one"
            raise ZeroDivisionError
        finally:
            closed.set()

    client = serve.client(serve(lambda _: HttpResponse(parts())))
    client.send(get())
    assert client.to_end().endswith(b"\r\n\r\n3\r\none\r\n")
    wait(closed)
    assert caplog.records[0].exc_info is not None


def test_a_failing_close_is_logged_and_the_server_goes_on(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(_: HttpRequestContext) -> HttpResponse:
        response = HttpResponse("x")
        response.call_on_close(lambda: 1 / 0)
        return response

    with caplog.at_level(logging.ERROR):
        client = serve.client(serve(handle))
        assert client.get().body == b"x"
        assert client.get().body == b"x"
    assert caplog.records


def test_iterators_are_closed_when_they_are_sent(serve: Serve) -> None:
    class Parts:
        def __init__(self) -> None:
            self.closed = threading.Event()

        def __iter__(self) -> Iterator[bytes]:
            yield b"one"

        def close(self) -> None:
            self.closed.set()

    parts = Parts()
    assert serve.client(serve(lambda _: HttpResponse(parts))).get().body == b"one"
    wait(parts.closed)
