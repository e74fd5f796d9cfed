"""`write`, which old programs call instead of returning parts: PEP 3333, "write()"."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import WsgiHandler

from tests.http.conftest import poll, wait
from tests.http.raw_http import get
from tests.http.wsgi_apps import BIG, PLAIN, TIMES, Closing, fail, read, start_slowly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.http.conftest import Serve

HEAD = get().replace(b"GET", b"HEAD")


def test_what_is_written_comes_first(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three"]

    assert serve.client(serve(WsgiHandler(app))).get().body == b"one two three"


def test_what_is_written_while_parts_are_made_is_not_lost(serve: Serve) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        yield b"two "
        write(b"three ")
        yield b""
        write(b"four ")
        yield b"five "
        write(b"six")

    assert serve.client(serve(WsgiHandler(app))).get().body == b"one two three four five six"


def test_what_is_written_is_sent_while_the_application_goes_on(
    serve: Serve, events: Callable[[], Any]
) -> None:
    go_on = events()

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"first")
        wait(go_on)
        write(b"second")
        return [b"third"]

    client = serve.client(serve(WsgiHandler(app)))
    for _ in range(2):
        go_on.clear()
        client.send(get("/"))
        assert client.until(b"first\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        go_on.set()
        assert client.until(b"\r\n0\r\n\r\n") == b"6\r\nsecond\r\n5\r\nthird\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_what_is_written_where_there_is_no_body_is_not_sent(serve: Serve, status: str) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Closing:
        start_response(status, [])(b"never seen")
        return body

    body = Closing()
    client = serve.client(serve(WsgiHandler(app)))
    for count in (1, 2):
        assert client.request(HEAD, "HEAD").status == int(status[:3])
        poll(lambda count=count: body.closed == count)  # type: ignore[misc]


def test_no_more_can_be_written_than_was_promised(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("200 OK", [*PLAIN, ("Content-Length", "3")])
        write(b"abc")
        write(b"d")
        return []

    client = serve.client(serve(WsgiHandler(app)))
    assert client.get().body == b"abc"
    assert client.is_closed()
    assert "has written more than its Content-Length" in caplog.text


def test_an_error_behind_what_was_written_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"begun")
        try:
            fail()
        except ValueError:
            start_response("503 Broken", PLAIN, sys.exc_info())
        return [b"never"]

    client = serve.client(serve(WsgiHandler(app)))
    client.send(get("/"))
    assert client.to_end().endswith(b"5\r\nbegun\r\n")
    assert "a deliberate fault" in caplog.text


# ---- slow clients


def write_much(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    write = start_response("200 OK", PLAIN)
    if environ["PATH_INFO"] != "/":
        for _ in range(TIMES):
            write(BIG)
    return [b"at once"]


def test_writing_waits_for_the_client_and_delays_nobody_else(serve: Serve) -> None:
    server = serve(WsgiHandler(write_much), workers=1, spare_workers=3)
    slow = start_slowly(serve, server, 3)
    assert serve.client(server).get("/").body == b"at once"
    for client in slow:
        assert read(client) == BIG * TIMES + b"at once"
        assert client.get("/").body == b"at once"


def test_writing_ends_when_the_client_leaves(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            return write_much(environ, start_response)
        finally:
            ended.set()

    (slow,) = start_slowly(serve, serve(WsgiHandler(app)), 1)
    slow.sock.close()
    wait(ended)
    assert not caplog.records  # it is no fault of the application
