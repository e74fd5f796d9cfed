"""Request bodies: both framings, limits, and files for large ones."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpResponse
from handy_ws.http.body import ChunkedBody, SizedBody
from handy_ws.http.head import BadRequest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.conftest import poll
from tests.http.raw_http import get, post

if TYPE_CHECKING:
    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

CHUNKED = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
    (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b'5;name="va;lue";x\r\nhello\r\n0;y\r\n\r\n', b"hello"),
    (b"5 \t;x\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b'5; a = b ;\tc="\\"\xe4\\\\"\r\nhello\r\n0\r\n\r\n', b"hello"),
    (b"5\r\nhello\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", b"hello"),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
]

BAD_CHUNKS = {
    "no size": (b"\r\nhello\r\n", 400),
    "sign": (b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "minus": (b"-1\r\nhello\r\n0\r\n\r\n", 400),
    "0x": (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "underscore": (b"1_0\r\nhello\r\n0\r\n\r\n", 400),
    "space before": (b" 5\r\nhello\r\n0\r\n\r\n", 400),
    "not hexadecimal": (b"g\r\nhello\r\n0\r\n\r\n", 400),
    "foreign digits": (b"\xd9\xa5\r\nhello\r\n0\r\n\r\n", 400),
    "17 digits": (b"00000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    "size ends with LF": (b"5\nhello\r\n0\r\n\r\n", 400),
    "size ends with CR": (b"5\rhello\r\n0\r\n\r\n", 400),
    "CR in the extension": (b"5;\rx\r\nhello\r\n0\r\n\r\n", 400),
    "NUL in the extension": (b"5;\0\r\nhello\r\n0\r\n\r\n", 400),
    "space behind the size": (b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "space behind the extension": (b"5;a \r\nhello\r\n0\r\n\r\n", 400),
    "extension without a name": (b"5;\r\nhello\r\n0\r\n\r\n", 400),
    "extension with a value alone": (b"5;=b\r\nhello\r\n0\r\n\r\n", 400),
    "extension without its value": (b"5;a=\r\nhello\r\n0\r\n\r\n", 400),
    "extension with half a quote": (b'5;a="b\r\nhello\r\n0\r\n\r\n', 400),
    "extension with a byte beyond ASCII": (b"5;\xe4\r\nhello\r\n0\r\n\r\n", 400),
    "data too long": (b"5\r\nhello!\r\n0\r\n\r\n", 400),
    "data too long by CR": (b"5\r\nhello\r\r\n0\r\n\r\n", 400),
    "data ends with LF": (b"5\r\nhello\n0\r\n\r\n", 400),
    "data too short": (b"6\r\nhello\r\n0\r\n\r\n", 400),
    "trailer ends with LF": (b"0\r\nA: b\n\r\n", 400),
    "body ends with LF": (b"0\r\n\n", 400),
    "trailer without a colon": (b"0\r\nA\r\n\r\n", 400),
    "trailer without a name": (b"0\r\n: b\r\n\r\n", 400),
    "trailer with a space before the colon": (b"0\r\nA : b\r\n\r\n", 400),
    "folded trailer": (b"0\r\nA: b\r\n c: d\r\n\r\n", 400),
    "illegal trailer name": (b"0\r\nA(: b\r\n\r\n", 400),
    "length as a trailer": (b"0\r\ncontent-length: 5\r\n\r\n", 400),
    "coding as a trailer": (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "host as a trailer": (b"0\r\nHost: b\r\n\r\n", 400),
    "extensions without data": ((b"1;" + b"x" * 1000 + b"\r\ny\r\n") * 17, 400),
    "endless size line": (b"5;" + b"x" * 2000, 400),
    "endless trailer line": (b"0\r\n" + b"x" * 2000, 400),
    "endless trailers": (b"0\r\n" + b"A: b\r\n" * 5000, 431),
    "too large": (b"3e9\r\n", 413),
    "too large together": (b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n", 413),
    "far too large": (b"ffffffffffffffff\r\n", 413),
}


def feed(body: ChunkedBody | SizedBody, data: bytes, size: int) -> bytes | None:
    """Feed data in pieces; return what was left when the body was whole."""
    for at in range(0, len(data), size):
        rest = body.feed(data[at : at + size])
        if rest is not None:
            return rest + data[at + size :]
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(("data", "expected"), CHUNKED)
def test_chunks_are_put_together(data: bytes, expected: bytes, size: int) -> None:
    body = ChunkedBody(1000)
    assert feed(body, data + b"GET /next", size) == b"GET /next"
    assert body.open().read() == expected
    body.close()


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_malformed_chunked_body_is_refused(name: str, size: int) -> None:
    data, status = BAD_CHUNKS[name]
    body = ChunkedBody(1000)
    with pytest.raises(BadRequest) as caught:
        feed(body, data, size)
    assert caught.value.status == status
    body.close()


@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_a_sized_body_ends_after_its_length(size: int) -> None:
    body = SizedBody(5)
    assert feed(body, b"helloGET /", size) == b"GET /"
    assert body.open().read() == b"hello"
    body.close()


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 60))
def test_any_chunks_cut_anywhere_give_the_same_body(chunks: list[bytes], size: int) -> None:
    data = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = ChunkedBody(10_000)
    assert feed(body, data, size) == b""
    assert body.open().read() == b"".join(chunks)
    body.close()


@given(st.binary(max_size=200))
def test_noise_is_a_body_or_a_bad_request(noise: bytes) -> None:
    body = ChunkedBody(100)
    with suppress(BadRequest):
        body.feed(noise)
    body.close()


# Through a server


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.request.get_data()


def test_a_body_that_comes_with_its_head(serve: Serve) -> None:
    client = serve.client(serve(echo))
    assert client.request(post("/", b"hello")).body == b"hello"
    assert client.request(post("/", b"")).body == b""
    assert client.get("/").body == b""


def test_a_body_in_pieces_and_the_next_request_behind_it(serve: Serve) -> None:
    client = serve.client(serve(echo, workers=1))
    data = post("/", b"hello") + get("/next")
    for byte in data:
        client.send(bytes([byte]))
    assert client.response().body == b"hello"
    assert client.response().body == b""


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024 + 1, 3_000_000])
def test_large_bodies_are_whole(serve: Serve, size: int) -> None:
    client = serve.client(serve(echo))
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert client.request(post("/", body)).body == body


def test_a_chunked_body_is_whole(serve: Serve) -> None:
    client = serve.client(serve(echo))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
    for data, expected in CHUNKED:
        assert client.request(head + data).body == expected
    client.send(head)
    for byte in CHUNKED[2][0]:
        client.send(bytes([byte]))
    assert client.response().body == b"hello world"


def test_a_form_larger_than_werkzeug_takes_by_default(serve: Serve) -> None:
    def length(context: HttpRequestContext) -> None:
        context.response.data = str(len(context.request.form["a"]))

    client = serve.client(serve(length))
    form = "Content-Type: application/x-www-form-urlencoded"
    assert client.request(post("/", b"a=" + b"x" * 1_000_000, form)).body == b"1000000"


def test_a_body_over_the_limit_is_refused_before_it_is_read(serve: Serve) -> None:
    server = serve(echo, max_body_size=1000)
    client = serve.client(server)
    assert client.request(post("/", b"x" * 1000)).status == 200
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
    assert client.response().status == 413
    assert client.is_closed()


def test_the_answer_is_read_by_a_client_that_sends_all_of_a_large_body_first(serve: Serve) -> None:
    client = serve.client(serve(echo, max_body_size=1000))
    response = client.request(post("/", b"x" * 500_000))
    assert response.status == 413
    assert client.is_closed()


def test_a_chunked_body_over_the_limit_is_refused(serve: Serve) -> None:
    client = serve.client(serve(echo, max_body_size=1000))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n")
    assert client.response().status == 413
    assert client.is_closed()


@pytest.mark.parametrize("name", ["data too long", "sign", "size ends with LF"])
def test_nothing_is_read_behind_a_malformed_chunk(serve: Serve, name: str) -> None:
    client = serve.client(serve(echo))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.request(head + BAD_CHUNKS[name][0] + get("/smuggled")).status == 400
    assert client.is_closed()


def test_a_client_that_asks_first_is_told_to_continue(serve: Serve) -> None:
    client = serve.client(serve(echo))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    assert client.request(head).status == 100
    assert client.request(b"hello").body == b"hello"
    # Who does not wait is not told.
    assert client.request(head + b"hello").body == b"hello"


def test_an_http_1_0_client_is_not_told_to_continue(serve: Serve) -> None:
    client = serve.client(serve(echo))
    client.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    client.send(b"hello")
    assert client.response().body == b"hello"


def test_a_client_that_leaves_in_its_body_is_forgotten(serve: Serve) -> None:
    server = serve(echo)
    client = serve.client(server)
    client.send(post("/", b"hello")[:-1])
    client.sock.close()
    assert serve.client(server).get("/").status == 200


def test_uploaded_files_are_closed_when_the_response_is_over(serve: Serve) -> None:
    files = []

    def handle(context: HttpRequestContext) -> HttpResponse:
        files.append(context.request.files["one"])
        return HttpResponse(iter(lambda: files[0].read(2), b""))  # read while it is sent

    form = (
        b'--x\r\nContent-Disposition: form-data; name="one"; filename="a"\r\n\r\n'
        b"content\r\n--x--\r\n"
    )
    client = serve.client(serve(handle))
    answer = client.request(post("/", form, "Content-Type: multipart/form-data; boundary=x"))
    assert answer.body == b"content"
    poll(lambda: files[0].stream.closed)
