"""HTTP over TLS, with the TLS of Python as the client: what holds in plain holds here, too."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpRequestHandler, HttpResponse, HttpServer, PathHandler

from tests.http.conftest import poll
from tests.http.raw_http import get, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext

    from tests.certificates import Authority
    from tests.http.conftest import Serve
    from tests.http.raw_http import RawClient

BIG = b"0123456789abcdef" * 65536 * 4  # 4 MiB, many times what a socket holds
PART = 100_000


def echo(context: HttpRequestContext) -> HttpResponse | None:
    match context.head.path:
        case "/big":
            return HttpResponse(BIG)
        case "/parts":
            return HttpResponse(parts())
    context.response.data = context.request.get_data() or context.head.path
    return None


def parts() -> Iterator[bytes]:
    for at in range(0, len(BIG), PART):
        yield BIG[at : at + PART]


@pytest.fixture
def server(serve: Serve, authority: Authority) -> HttpServer:
    config = authority.server.config()
    return serve(echo, workers=1, keep_alive_timeout=60, tls=config)


@pytest.fixture
def connect(
    serve: Serve, server: HttpServer, authority: Authority, tls_version: str
) -> Callable[..., RawClient]:
    """Connect to the server, with each version of TLS."""
    context = authority.client(tls_version)
    return lambda **options: serve.client(server, context=context, **options)


def test_requests_on_one_connection(connect: Callable[..., RawClient], tls_version: str) -> None:
    client = connect()
    assert isinstance(client.sock, ssl.SSLSocket)
    assert client.sock.version() == f"TLSv{tls_version}"
    for path in ("/1", "/2", "/3"):
        response = client.get(path)
        assert (response.status, response.body) == (200, path.encode())
    response = client.request(get("/1").replace(b"GET", b"HEAD"), "HEAD")
    assert (response.get("Content-Length"), response.body) == ("2", b"")
    assert client.request(post("/", b"body")).body == b"body"
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.request(chunked + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").body == b"onetwo"
    assert client.request(get("/last", "Connection: close")).body == b"/last"
    assert client.is_closed()


def test_pipelined_requests(connect: Callable[..., RawClient]) -> None:
    client = connect()
    client.send(b"".join(get(f"/{number}") for number in range(50)))
    for number in range(50):
        assert client.response().body == b"/%d" % number


def test_a_head_and_a_body_a_byte_in_each_record(connect: Callable[..., RawClient]) -> None:
    client = connect()
    for byte in post("/", b"dribbled") + get("/next"):
        client.send(bytes([byte]))
    assert client.response().body == b"dribbled"
    assert client.response().body == b"/next"


def test_expect_100_continue(connect: Callable[..., RawClient]) -> None:
    client = connect()
    head = post("/", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 5")
    assert client.request(head).status == 100
    assert client.request(b"hello").body == b"hello"


def test_large_bodies_both_ways(connect: Callable[..., RawClient]) -> None:
    client = connect()
    for path in ("/big", "/parts"):
        assert client.get(path).body == BIG
    assert client.request(post("/", BIG)).body == BIG


class Collect(HttpRequestHandler):
    """Reads the body while it comes, and answers with it."""

    stream_body = True

    def handle(self, context: HttpRequestContext) -> HttpResponse:
        stream = context.request.stream
        return HttpResponse(b"".join(iter(lambda: stream.read(65536), b"")))


def test_a_body_that_is_read_while_it_comes(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    server = serve(Collect(), tls=authority.server.config())
    client = serve.client(server, context=authority.client(tls_version))
    head, _, body = post("/", BIG, "Expect: 100-continue").partition(b"\r\n\r\n")
    assert client.request(head + b"\r\n\r\n").status == 100
    assert client.request(body).body == BIG
    for byte in post("/", b"dribbled"):
        client.send(bytes([byte]))
    assert client.response().body == b"dribbled"
    client.send(post("/", b"cut off")[:-1])
    client.sock.close()
    other = serve.client(server, context=authority.client(tls_version))
    assert other.request(post("/", b"alive")).body == b"alive"


@pytest.mark.parametrize("path", ["/big", "/parts"])
def test_slow_readers_hold_no_worker_and_get_every_byte(
    connect: Callable[..., RawClient], path: str
) -> None:
    slow = [connect(receive_buffer=4096) for _ in range(3)]
    for client in slow:
        client.send(get(path))
    other = connect()
    for _ in range(20):
        assert other.get("/other").body == b"/other"
    for client in slow:
        assert client.response().body == BIG
        assert client.get("/again").body == b"/again"


def test_a_slow_reader_gets_every_byte_before_the_end(connect: Callable[..., RawClient]) -> None:
    client = connect(receive_buffer=4096)
    client.send(get("/big", "Connection: close"))
    assert client.response().body == BIG
    assert client.is_closed()  # with a close_notify: a cut would be an error


def test_an_http_1_0_client_reads_to_the_end(connect: Callable[..., RawClient]) -> None:
    client = connect()
    client.send(b"GET /parts HTTP/1.0\r\n\r\n")
    assert client.response().body == BIG


def test_a_response_that_breaks_off_does_not_look_whole(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"a part"
        raise ZeroDivisionError

    server = serve(lambda _: HttpResponse(breaking()), tls=authority.server.config())
    client = serve.client(server, context=authority.client(tls_version))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.until(b"a part").startswith(b"HTTP/1.1 200 ")
    with pytest.raises(ssl.SSLEOFError):
        client.to_end()


@pytest.mark.parametrize("path", ["/big", "/parts"])
def test_a_client_that_stops_reading_is_let_go(
    serve: Serve, authority: Authority, path: str
) -> None:
    closed = threading.Event()

    def handle(context: HttpRequestContext) -> HttpResponse | None:
        response = echo(context)
        if response is not None:
            response.call_on_close(closed.set)
        return response

    server = serve(handle, workers=1, body_timeout=0.1, tls=authority.server.config())
    client = serve.client(server, receive_buffer=4096, context=authority.client())
    client.send(get(path))
    assert closed.wait(10)
    # What was cut off does not look as if it were whole.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.response()
    assert serve.client(server, context=authority.client()).get().status == 200


REQUESTS = {
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "NUL": (get("/", "A: b\0c"), 400),
    "two framings": (get("/", "Transfer-Encoding: chunked", "Content-Length: 1"), 400),
    "unknown coding": (get("/", "Transfer-Encoding: gzip, chunked"), 501),
    "long body": (post("/", b"").replace(b"Length: 0", b"Length: 99999999"), 413),
    "long target": (get("/" + "x" * 70_000), 414),
    "long head": (get("/", "X: " + "x" * 70_000), 431),
    "many fields": (get("/", *("X: y" for _ in range(101))), 431),
    "version": (get().replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
    "byte 0xff": (get("/", "X-Byte: \xff"), 200),
}


@pytest.mark.parametrize(("data", "status"), REQUESTS.values(), ids=REQUESTS)
def test_bad_requests_get_their_answers_and_the_connection_ends(
    connect: Callable[..., RawClient], data: bytes, status: int
) -> None:
    client = connect()
    client.send(data)
    response = client.response()
    assert response.status == status
    if status != 200:
        assert response.get("Connection") == "close"
        client.sock.settimeout(10)
        assert client.is_closed()
    assert connect().get("/alive").body == b"/alive"


def test_slow_heads_and_bodies_get_408(serve: Serve, authority: Authority) -> None:
    server = serve(echo, head_timeout=0.3, body_timeout=0.3, tls=authority.server.config())
    for data in (get()[:-1], post("/", b"body")[:-1]):
        client = serve.client(server, context=authority.client())
        client.send(data)
        assert client.response().status == 408
        assert client.is_closed()


def test_idle_connections_are_closed_with_a_close_notify(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    config = authority.server.config()
    server = serve(echo, head_timeout=0.5, keep_alive_timeout=0.1, tls=config)
    silent = serve.client(server, context=authority.client(tls_version))
    client = serve.client(server, context=authority.client(tls_version))
    assert client.get().status == 200
    assert client.sock.recv(1) == b""
    assert silent.sock.recv(1) == b""


def test_a_client_that_says_close_notify_is_closed(connect: Callable[..., RawClient]) -> None:
    client = connect()
    assert client.get("/1").body == b"/1"
    assert isinstance(client.sock, ssl.SSLSocket)
    plain = client.sock.unwrap()  # waits for the server's close_notify
    assert plain.recv(1) == b""
    plain.close()


def test_a_stop_lets_requests_end_and_says_close_notify(
    serve: Serve, authority: Authority, events: Callable[[], threading.Event]
) -> None:
    begun, may_end = events(), events()

    def handle(context: HttpRequestContext) -> None:
        if context.head.path == "/slow":
            begun.set()
            may_end.wait(10)
            context.response.data = "done"

    server = serve(handle, tls=authority.server.config())
    idle, busy = (serve.client(server, context=authority.client()) for _ in range(2))
    assert idle.get().status == 200
    busy.send(get("/slow"))
    assert begun.wait(10)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert idle.is_closed()
    may_end.set()
    response = busy.response()
    assert (response.body, response.get("Connection")) == (b"done", "close")
    assert busy.is_closed()
    stopping.join()


# What a request knows of its TLS


def test_a_request_knows_that_it_came_by_tls(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    seen: list[Any] = []

    def handle(context: HttpRequestContext) -> None:
        request = context.request
        seen.append((request.scheme, request.is_secure, request.url, request.client_certificate))
        keys = ("wsgi.url_scheme", "HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_CLIENT_CERT")
        seen.append([request.environ.get(key) for key in keys])

    server = serve(handle, tls=authority.server.config())
    client = serve.client(server, context=authority.client(tls_version))
    # None of it can be forged, or taken from a client that asks for something else.
    client.get("/p?q", "HTTPS: off", "SSL_CIPHER: no", "SSL-CLIENT-CERT: forged")
    client.request(b"GET http://localhost/p?q HTTP/1.1\r\nHost: a\r\n\r\n")
    facts = ("https", True, "https://localhost/p?q", None)
    assert seen[0] == seen[2] == facts
    assert seen[1] == seen[3]
    scheme, https, protocol, cipher, certificate = seen[1]
    assert (scheme, https, certificate) == ("https", "on", None)
    assert protocol == f"TLSv{tls_version}"
    assert isinstance(client.sock, ssl.SSLSocket)
    used = client.sock.cipher()
    assert used is not None
    if tls_version == "1.3":
        assert cipher == used[0]
    else:
        assert cipher.startswith("TLS_ECDHE_ECDSA_WITH_")


def test_a_plain_request_has_none_of_that(serve: Serve) -> None:
    seen: list[Any] = []

    def handle(context: HttpRequestContext) -> None:
        environ = context.request.environ
        seen.extend(key for key in environ if key.startswith(("SSL_", "HTTPS")))
        seen.append((context.request.scheme, context.request.client_certificate))

    serve.client(serve(handle)).get("/", "HTTPS: on", "SSL-CLIENT-CERT: forged")
    assert seen == [("http", None)]


def test_redirects_stay_on_https(serve: Serve, authority: Authority) -> None:
    paths = PathHandler().add("/folder/", echo)
    server = serve(paths, tls=authority.server.config())
    response = serve.client(server, context=authority.client()).get("/folder")
    assert (response.status, response.get("Location")) == (308, "https://localhost/folder/")


def test_a_socket_that_is_given_away_is_the_session(
    serve: Serve, authority: Authority, tls_version: str
) -> None:
    def take_over(stream: Any, response: bytes, received: bytes) -> None:
        stream.send(response + b"<" + received + b">")
        poll(lambda: not (stream.flush() or stream.unsent))
        stream.shutdown(socket.SHUT_RDWR)
        stream.close()
        assert stream.fileno() == -1

    server = serve(lambda context: context.upgrade((), take_over), tls=authority.server.config())
    client = serve.client(server, context=authority.client(tls_version))
    client.send(get() + b"behind")
    assert client.response().status == 101
    assert client.to_end() == b"<behind>"
