"""Reading request heads, without sockets and through a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpServer, ServerConfig
from handy_ws.http.head import BadRequest, RequestSource, find_head_end, parse_head
from hypothesis import given
from hypothesis import strategies as st

from tests.http.raw_http import RawClient, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve


def lines(*fields: str, start: str = "GET / HTTP/1.1", host: str | None = "a") -> bytes:
    """Return a head with Host and the given fields."""
    host_line = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([start, *host_line, *fields, "", ""]).encode("latin-1")


WELL_FORMED = [
    (lines(), "/", ""),
    (lines(start="GET /a%20b?x=%41&y HTTP/1.1"), "/a b", "x=%41&y"),
    (lines(start="GET /%C3%A4 HTTP/1.1"), "/ä", ""),
    (lines(start="GET /%ff HTTP/1.1"), "/\ufffd", ""),
    (lines(start="GET //two HTTP/1.1"), "//two", ""),
    (lines(start="GET /?a?b HTTP/1.1"), "/", "a?b"),
    (lines(start="GET / HTTP/1.0", host=None), "/", ""),
    (lines(start="M-SEARCH / HTTP/1.1"), "/", ""),
    (lines(start="OPTIONS * HTTP/1.1"), "*", ""),
    (lines(start="GET http://a/b?c HTTP/1.1"), "/b", "c"),
    (lines(start="GET HTTP://a HTTP/1.1"), "/", ""),
    (lines(start="GET http://a?c HTTP/1.1"), "/", "c"),
    (lines(start="GET http://a/b HTTP/1.0", host=None), "/b", ""),
    (lines("Empty:"), "/", ""),
    (lines("Tabbed:\t\tx \t"), "/", ""),
    (lines("Twice: 1", "Twice: 2"), "/", ""),
    (lines(host="[::1]:8080"), "/", ""),
    (lines(host="a.example:80"), "/", ""),
    (lines(host="a:"), "/", ""),
    (lines(host="%41"), "/", ""),
]

MALFORMED = {
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", 400),
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n", 400),
    "bare CR in the request line": (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CR before CRLF": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    "bare LF at the start": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "folded line": (lines("B: c", " d"), 400),
    "folded line with a tab": (lines("B: c", "\td"), 400),
    "folded first line": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "space before the colon": (lines("B : c"), 400),
    "tab before the colon": (lines("B\t: c"), 400),
    "no name": (lines(": c"), 400),
    "unknown method": (lines(start="FANCY-METHOD!# / HTTP/1.1"), 501),
    "no colon": (lines("B"), 400),
    "no colon after a known name": (lines("Accept"), 400),
    "illegal name": (lines("B(: c"), 400),
    "non-ASCII name": (lines("\xe4: c"), 400),
    "duplicate Host": (lines("Host: a"), 400),
    "duplicate Host, other case": (lines("hOST: b"), 400),
    "duplicate Content-Length": (lines("Content-Length: 1", "Content-Length: 1"), 400),
    "duplicate Transfer-Encoding": (
        lines("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        400,
    ),
    "duplicate key": (lines("Sec-WebSocket-Key: a", "Sec-WebSocket-Key: a"), 400),
    "missing Host": (lines(host=None), 400),
    "empty Host": (lines(host=""), 400),
    "Host with a path": (lines(host="a/b"), 400),
    "Host with a user": (lines(host="u@a"), 400),
    "Host with a space": (lines(host="a b"), 400),
    "Host list": (lines(host="a, b"), 400),
    "Host with a bad port": (lines(host="a:b"), 400),
    "Host with a port that is too large": (lines(host="a:65536"), 400),
    "Host with a bad address": (lines(host="[:::1]"), 400),
    "Host with half a bracket": (lines(host="[::1"), 400),
    "Host too long": (lines(host="a" * 300), 400),
    "non-ASCII Host": (lines(host="\xe4"), 400),
    "no target": (lines(start="GET HTTP/1.1"), 400),
    "empty target": (lines(start="GET  HTTP/1.1"), 400),
    "no version (0.9)": (lines(start="GET /"), 400),
    "two spaces": (lines(start="GET /  HTTP/1.1"), 400),
    "space in the target": (lines(start="GET /a b HTTP/1.1"), 400),
    "tab for a space": (lines(start="GET\t/ HTTP/1.1"), 400),
    "tab in the target": (lines(start="GET /\t HTTP/1.1"), 400),
    "fragment": (lines(start="GET /#a HTTP/1.1"), 400),
    "non-ASCII target": (lines(start="GET /\xe4 HTTP/1.1"), 400),
    "relative target": (lines(start="GET a HTTP/1.1"), 400),
    "asterisk for GET": (lines(start="GET * HTTP/1.1"), 400),
    "other scheme": (lines(start="GET ftp://a/ HTTP/1.1"), 400),
    "URL without a host": (lines(start="GET http:///a HTTP/1.1"), 400),
    "URL with a user": (lines(start="GET http://u@a/ HTTP/1.1"), 400),
    "URL with a user in HTTP/1.0": (lines(start="GET http://u@a/ HTTP/1.0", host=None), 400),
    "URL without a host in HTTP/1.0": (lines(start="GET http:///a HTTP/1.0", host=None), 400),
    "CONNECT with a path": (lines(start="CONNECT / HTTP/1.1"), 501),
    "CONNECT": (lines(start="CONNECT a:80 HTTP/1.1"), 501),
    "method of another protocol": (lines(start="DESCRIBE / HTTP/1.1"), 501),
    "method with a colon": (lines(start="G:T / HTTP/1.1"), 400),
    "no method": (lines(start=" / HTTP/1.1"), 400),
    "HTTP/2.0": (lines(start="GET / HTTP/2.0"), 505),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (lines(start="GET / HTTP/1.2"), 505),
    "HTTP/0.9": (lines(start="GET / HTTP/0.9"), 505),
    "HTTP/1.10": (lines(start="GET / HTTP/1.10"), 400),
    "HTTP/1": (lines(start="GET / HTTP/1"), 400),
    "lower-case version": (lines(start="GET / http/1.1"), 400),
    "other protocol": (lines(start="GET / ICY/1.1"), 400),
    "version with foreign digits": (lines(start="GET / HTTP/\xb2.\xb3"), 400),
    "both framings": (lines("Content-Length: 1", "Transfer-Encoding: chunked"), 400),
    "Transfer-Encoding in HTTP/1.0": (
        lines("Transfer-Encoding: chunked", start="POST / HTTP/1.0"),
        400,
    ),
    "unknown coding": (lines("Transfer-Encoding: gzip"), 400),
    "two codings": (lines("Transfer-Encoding: gzip, chunked"), 501),
    "two codings, chunked first": (lines("Transfer-Encoding: chunked, gzip"), 400),
    "two codings in two fields": (
        lines("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
        400,
    ),
    "chunked twice": (lines("Transfer-Encoding: chunked, chunked"), 400),
    "coding with a parameter": (lines("Transfer-Encoding: chunked;x=1"), 400),
    "empty coding": (lines("Transfer-Encoding:"), 400),
    "vertical tab before chunked": (lines("Transfer-Encoding: \x0bchunked"), 400),
    "length with a sign": (lines("Content-Length: +10"), 400),
    "negative length": (lines("Content-Length: -1"), 400),
    "hexadecimal length": (lines("Content-Length: 0x1"), 400),
    "length with an underscore": (lines("Content-Length: 1_0"), 400),
    "length with foreign digits": (lines("Content-Length: \xb2"), 400),
    "empty length": (lines("Content-Length:"), 400),
    "list of lengths": (lines("Content-Length: 1, 1"), 400),
    "length with a space": (lines("Content-Length: 1 0"), 400),
    "length that is too large": (lines("Content-Length: 16777217"), 413),
    "length with 5000 digits": (lines("Content-Length: " + "9" * 5000), 400),
    "length with 21 digits": (lines("Content-Length: " + "0" * 20 + "1"), 400),
    "a body that is announced without a length": (
        lines("Expect: 100-continue", start="POST / HTTP/1.1"),
        411,
    ),
    "unmet expectation": (
        lines("Expect: something", "Content-Length: 1", start="POST / HTTP/1.1"),
        417,
    ),
    "65 KiB of fields": (lines("B: " + "c" * 65536), 431),
    "101 fields": (lines(*["B: c"] * 100), 431),
    "65 KiB of target": (lines(start="GET /" + "a" * 65536 + " HTTP/1.1"), 414),
    "a TLS client": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    **{
        f"control byte 0x{byte:02x} in a value": (lines(f"B: c{chr(byte)}d"), 400)
        for byte in [*range(9), 11, 12, *range(14, 32), 127]
    },
}


@pytest.mark.parametrize(("head", "path", "query"), WELL_FORMED)
def test_a_well_formed_head_is_read(head: bytes, path: str, query: str) -> None:
    assert find_head_end(head + b"rest", 0, 65536) == len(head)
    parsed = parse_head(head)
    assert (parsed.path, parsed.query) == (path, query)


def test_the_parts_of_a_head() -> None:
    head = parse_head(
        b"POST /a?b HTTP/1.1\r\nHost: h\r\nX-Thing:  one \r\n"
        b"x-thing: two\r\nX-Bytes: \xe4\xff\r\n\r\n"
    )
    assert (head.method, head.target, head.version) == ("POST", "/a?b", "1.1")
    assert head.headers == [
        ("host", "h"),
        ("x-thing", "one"),
        ("x-thing", "two"),
        ("x-bytes", "\xe4\xff"),
    ]
    assert head.get("x-thing") == "one"
    assert head.get_all("x-thing") == ["one", "two"]
    assert head.get("missing") is None
    assert head.get_all("missing") == []


def test_tokens_are_looked_for_in_all_fields_of_a_name() -> None:
    head = parse_head(lines("Connection: keep-alive, Foo", "Connection:\tUPGRADE ,"))
    assert head.has_token("connection", "upgrade")
    assert head.has_token("connection", "foo")
    assert not head.has_token("connection", "up")
    assert not head.has_token("upgrade", "websocket")


def test_the_host_of_the_target_replaces_the_field() -> None:
    head = parse_head(lines(start="GET http://b:1/c HTTP/1.1", host="a"))
    assert head.get("host") == "b:1"
    assert head.get_all("host") == ["b:1"]
    assert head.target == "http://b:1/c"


def test_the_host_of_the_target_is_the_host_of_an_old_request_without_one() -> None:
    head = lines("A: b", start="GET http://b:1/c HTTP/1.0", host=None)
    assert parse_head(head).headers == [("a", "b"), ("host", "b:1")]
    request = RequestSource(head, ("192.0.2.1", 1234), ("127.0.0.1", 80)).request()
    assert request.url == "http://b:1/c"


@pytest.mark.parametrize(
    ("head", "keeps_alive"),
    [
        (lines(), True),
        (lines("Connection: close"), False),
        (lines("Connection: x, Close"), False),
        (lines(start="GET / HTTP/1.0"), False),
        (lines("Connection: Keep-Alive", start="GET / HTTP/1.0"), True),
        (lines("Connection: keep-alive, close", start="GET / HTTP/1.0"), False),
    ],
)
def test_persistence(head: bytes, keeps_alive: bool) -> None:
    assert parse_head(head).keeps_alive is keeps_alive


def test_a_source_makes_the_request_anew() -> None:
    head = lines(
        "Cookie: a=1", "Cookie: b=2", "X_Y: forged", "X-Y: real", start="GET /p?q=1 HTTP/1.1"
    )
    source = RequestSource(head, ("192.0.2.1", 1234), ("127.0.0.1", 80))
    source.path_params = {"id": 7}
    request = source.request()
    assert request.path == "/p"
    assert request.args["q"] == "1"
    assert request.headers["X-Y"] == "real"
    assert request.cookies.to_dict() == {"a": "1", "b": "2"}
    assert request.remote_addr == "192.0.2.1"
    assert request.path_params == {"id": 7}
    assert request.get_data() == b""
    assert (request.scheme, request.is_secure) == ("http", False)
    source.scheme = "https"
    assert source.request().url == "https://a/p?q=1"


@pytest.mark.parametrize("head", [head for head, _, _ in WELL_FORMED])
def test_the_end_of_a_head_is_found_wherever_it_is_cut(head: bytes) -> None:
    for cut in range(1, len(head)):
        assert find_head_end(head[:cut], 0, 65536) == 0
        assert find_head_end(head + b"next", cut, 65536) == len(head)


def test_each_byte_is_scanned_once() -> None:
    class Counting(bytearray):
        scanned = 0

        def find(self, mark: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
            Counting.scanned += len(self) - start
            return super().find(mark, start, len(self) if end is None else end)

        def count(self, mark: bytes, start: int = 0) -> int:  # type: ignore[override]
            Counting.scanned += len(self) - start
            return super().count(mark, start)

    buffer = Counting()
    for _ in range(20_000):
        assert find_head_end(buffer, max(0, len(buffer) - 1), 65536) == 0
        buffer += b"a"
    assert Counting.scanned < 20_000 * 10


@given(st.binary(max_size=300))
def test_noise_is_a_head_or_a_bad_request(noise: bytes) -> None:
    try:
        parse_head(noise + b"\r\n\r\n")
    except BadRequest as error:
        refused = error
    else:
        return
    assert 400 <= refused.status < 600
    assert "\n" not in refused.reason


@given(st.text("GETHOSP /.:1-\r\n\t ", max_size=80))
def test_nearly_heads_are_heads_or_bad_requests(text: str) -> None:
    try:
        head = parse_head(text.encode() + b"\r\n\r\n")
    except BadRequest:
        return
    assert head.method
    assert head.target


# Through a server


def echo(context: HttpRequestContext) -> None:
    context.response.data = f"{context.head.method} {context.request.full_path}"


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with HttpServer(echo, ServerConfig(port=0, workers=2)) as server:
        yield server


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_and_nothing_behind_it_is_read(
    server: HttpServer, name: str
) -> None:
    data, status = MALFORMED[name]
    with RawClient(server.address) as client:
        response = client.request(data + get("/smuggled"))
        assert response.status == status
        assert response.get("Connection") == "close"
        assert response.get("Content-Type") == "text/plain; charset=utf-8"
        assert response.body.endswith(b"\n")
        assert response.body.count(b"\n") == 1
        assert client.is_closed()


@pytest.mark.parametrize("name", ["bare LF after a field", "duplicate Host", "HTTP/2.0"])
def test_a_malformed_request_is_refused_when_it_comes_byte_by_byte(
    server: HttpServer, name: str
) -> None:
    data, status = MALFORMED[name]
    with RawClient(server.address) as client:
        try:
            for byte in data:
                client.send(bytes([byte]))
        except ConnectionError:
            pass
        assert client.response().status == status


def test_a_head_may_be_split_at_every_byte(server: HttpServer) -> None:
    data = get("/split?a=b", "X-Long: " + "x" * 100)
    with RawClient(server.address) as client:
        for cut in range(1, len(data)):
            client.send(data[:cut])
            client.send(data[cut:])
            assert client.response().body == b"GET /split?a=b"


def test_empty_lines_before_a_request_are_ignored(server: HttpServer) -> None:
    with RawClient(server.address) as client:
        assert client.request(b"\r\n\r\n" + get("/1")).body == b"GET /1?"
        client.send(b"\r\n")
        client.send(b"\r")
        client.send(b"\n" + get("/2"))
        assert client.response().body == b"GET /2?"


def test_every_byte_in_every_value_is_answered(server: HttpServer) -> None:
    for byte in range(256):
        for field in (b"X: a%cb", b"Cookie: %c", b"Content-Type: %c", b"Accept: %c=%c"):
            line = field.replace(b"%c", bytes([byte]))
            with RawClient(server.address) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
                legal = byte == 9 or 32 <= byte != 127
                assert client.response().status == (200 if legal else 400)


def test_options_for_the_whole_server(server: HttpServer) -> None:
    with RawClient(server.address) as client:
        assert client.request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 204


def test_what_ends_a_line_elsewhere_is_refused_or_one_value(serve: Serve) -> None:
    """Python's `splitlines` ends lines at these, too (Daphne, CVE-2026-44546)."""
    seen: list[list[str]] = []

    def look(context: HttpRequestContext) -> None:
        requests = (context.request, context.source.request())
        assert not any("X-Evil" in request.headers for request in requests)
        seen.append([context.head.get("x") or "", *(each.headers["X"] for each in requests)])

    server = serve(look)
    for byte in b"\x0b\x0c\x1c\x1d\x1e":
        client = serve.client(server)
        assert client.get("/", f"X: a{chr(byte)}X-Evil: b").status == 400
        assert client.is_closed()
    assert seen == []
    # These are parts of letters in UTF-8, such as the A with a ring, so they cannot be refused.
    client = serve.client(server)
    for value in ("a\x85X-Evil: b", "\xc3\x85", "a\xe2\x80\xa8X-Evil: b", "a\xa0b"):
        assert client.get("/", f"X: {value}").status == 200
        assert seen.pop() == [value] * 3
