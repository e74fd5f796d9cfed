"""RFC 9110 and 9112 by the letter, where no other test looks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpResponse, WebSocketHandler, WebSocketMessageHandler

from tests.http.raw_http import get, post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

CHUNKED = "Transfer-Encoding: chunked"


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.head.target.encode() + context.request.get_data()


# RFC 9110 section 9.3.2: HEAD has no body in its response, whatever that is

REFUSED_HEADS = {
    "by the head": (b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "before it is whole": (b"HEAD / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "by its size": (b"HEAD / HTTP/1.1\r\nA: " + b"a" * 3000, 431),
    "by its body": (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
    "by its time": (b"HEAD / HTTP/1.1\r\n", 408),
}


@pytest.mark.parametrize("name", REFUSED_HEADS)
def test_a_head_request_that_is_refused_gets_no_body(serve: Serve, name: str) -> None:
    data, status = REFUSED_HEADS[name]
    client = serve.client(serve(echo, max_head_size=2000, max_body_size=100, head_timeout=0.3))
    response = client.request(data, "HEAD")
    assert response.status == status
    assert int(response.get("Content-Length") or 0) > 0
    assert response.get("Connection") == "close"
    assert client.is_closed()


def test_an_exception_in_head_gets_no_body(serve: Serve) -> None:
    client = serve.client(serve(lambda _: 1 // 0))
    for _ in range(2):
        assert client.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD").status == 500


# Section 15.3.6: Reset Content


@pytest.mark.parametrize("body", ["", "text", None], ids=str)
def test_reset_content_has_no_content(serve: Serve, body: str | None) -> None:
    def handle(_: HttpRequestContext) -> HttpResponse:
        return HttpResponse(iter(["streamed"]) if body is None else body, status=205)

    client = serve.client(serve(handle))
    for _ in range(2):
        response = client.get()
        assert (response.status, response.body) == (205, b"")
        assert response.get("Content-Length") == "0"
        assert response.get("Transfer-Encoding") is None


# Section 9.3.1: a body of GET has no meaning, but it is there


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_body_is_read_for_every_method(serve: Serve, method: str) -> None:
    client = serve.client(serve(echo))
    inner = get("/inside").decode()
    sized = f"{method} /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(inner)}\r\n\r\n{inner}"
    chunk = f"{len(inner):x}\r\n{inner}\r\n0\r\n\r\n"
    chunked = f"{method} /2 HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\n{chunk}"
    client.send((sized + chunked).encode() + get("/3"))
    for target in ("/1", "/2"):
        expected = "" if method == "HEAD" else target + inner
        assert client.response(method).body == expected.encode()
    assert client.response().body == b"/3"


# Section 7.8: Upgrade


def test_other_protocols_are_not_upgraded_to(serve: Serve) -> None:
    client = serve.client(serve(echo))
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert client.get("/1", *fields).body == b"/1"
    # A body is framed as it is in any request.
    assert client.request(post("/2", b"body", *fields) + get("/3")).body == b"/2body"
    assert client.response().body == b"/3"


def test_an_upgrade_field_of_http_1_0_is_ignored(serve: Serve) -> None:
    fields = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    request = get("/x", *fields).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert serve.client(serve(echo)).request(request).body == b"/x"
    websockets = WebSocketHandler(WebSocketMessageHandler())
    assert serve.client(serve(websockets)).request(request).status == 400


def test_http_1_0_knows_no_upgrade_and_no_1xx(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> HttpResponse | None:
        with pytest.raises(ValueError, match=r"HTTP/1\.0"):
            context.upgrade([], lambda *_: None)
        return HttpResponse("as it was")

    client = serve.client(serve(handle))
    assert client.request(b"GET / HTTP/1.0\r\n\r\n").body == b"as it was"


# Section 10.1.1: Expect


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Content-Length: 101"], 413),
        (["Content-Length: x"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        ([], 411),
    ],
    ids=str,
)
def test_who_is_refused_is_not_told_to_continue(
    serve: Serve, fields: list[str], status: int
) -> None:
    client = serve.client(serve(echo, max_body_size=100))
    lines = ["POST / HTTP/1.1", "Host: a", "Expect: 100-continue", *fields, "", ""]
    assert client.request("\r\n".join(lines).encode()).status == status
    assert client.is_closed()


def test_an_expectation_without_a_body_is_not_waited_for(serve: Serve) -> None:
    client = serve.client(serve(echo))
    assert client.request(post("/1", b"", "Expect: 100-continue")).body == b"/1"
    assert client.get("/2").body == b"/2"


def test_a_client_is_told_to_continue_with_its_chunks(serve: Serve) -> None:
    client = serve.client(serve(echo))
    head = f"POST /1 HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\nExpect: 100-continue\r\n\r\n"
    assert client.request(head.encode()).status == 100
    client.send(b"5\r\nhe")
    client.send(b"llo\r\n0\r\n\r\n" + get("/2"))
    assert client.response().body == b"/1hello"
    assert client.response().body == b"/2"


# RFC 9112 section 9.6: tear-down


def test_nothing_is_read_behind_the_last_request(serve: Serve) -> None:
    targets: list[str] = []

    def handle(context: HttpRequestContext) -> None:
        targets.append(context.head.target)
        echo(context)

    server = serve(handle)
    for last in (
        get("/last", "Connection: close"),
        b"GET /last HTTP/1.0\r\n\r\n",
    ):
        client = serve.client(server)
        client.send(last + get("/behind"))
        assert client.response().body == b"/last"
        assert client.is_closed()
    server.stop()
    assert targets == ["/last", "/last"]


@pytest.mark.parametrize("streamed", [False, True])
def test_what_comes_behind_the_last_request_does_not_cut_off_its_response(
    serve: Serve, streamed: bool
) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    def handle(_: HttpRequestContext) -> HttpResponse:
        return HttpResponse(parts() if streamed else b"x" * 2_000_000)

    client = serve.client(serve(handle), receive_buffer=4096)
    # Old clients end the line behind a body.
    client.send(post("/", b"body", "Connection: close") + b"\r\n" + b"y" * 100_000)
    assert len(client.response().body) == 2_000_000
    assert client.is_closed()


# Section 9.3.2: pipelining


def test_ten_thousand_pipelined_requests_are_read_as_they_are_answered(serve: Serve) -> None:
    count = 10_000
    held: list[int] = []

    def handle(context: HttpRequestContext) -> None:
        worker: Any = threading.current_thread()
        held.append(len(worker.connection.received))
        context.response.data = context.head.target

    server = serve(handle, workers=2)
    client = serve.client(server)
    block = b"".join(get(f"/{number}") for number in range(count))
    sender = threading.Thread(target=client.send, args=(block,))
    sender.start()
    for number in range(count):
        assert client.response().body == b"/%d" % number
    sender.join()
    assert len(held) == count
    # One read's worth: more waits in the system, and then with the client.
    assert max(held) <= 8 * 1024
