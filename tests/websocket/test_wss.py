"""WebSockets over TLS: what holds over ws holds over wss.

The client of `websockets` is the one for asyncio: that for threads reads in one and writes in
another, and Python 3.11 lets OpenSSL do both at the same time. If it reads the tickets of TLS 1.3
while it writes the handshake, that is lost, whoever the server is.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import websocket
from handy_ws import (
    CloseCause,
    CompressionConfig,
    HttpRequestContext,
    HttpResponse,
    WebSocketConfig,
    WebSocketHandler,
)
from websockets.asyncio.client import connect

from tests.asynchronous import run
from tests.certificates import Files
from tests.http.raw_http import get
from tests.http.tls_clients import Engine
from tests.websocket.raw_websocket import (
    ACCEPT,
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
    request_head,
)
from tests.websocket.recorder import PATIENCE, Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from handy_ws import HttpRequest, HttpServer

    from tests.certificates import Authority
    from tests.websocket.conftest import Serve

MIB = 1024 * 1024
BIG = bytes(range(256)) * (MIB // 256)
#: Room for what slow readers have not read.
ROOMY = WebSocketConfig(max_message_size=4 * MIB, send_queue_limit=64 * MIB)


@pytest.fixture
def server(serve: Serve, authority: Authority) -> HttpServer:
    return serve(Echo(), ROOMY, authority.server.config())


@pytest.fixture
def context(authority: Authority, tls_version: str) -> ssl.SSLContext:
    return authority.client(tls_version)


@pytest.fixture
def client(server: HttpServer, context: ssl.SSLContext) -> Iterator[RawWebSocket]:
    with RawWebSocket.open(server.address, context=context) as client:
        yield client


def url(server: HttpServer) -> str:
    return f"wss://localhost:{server.address[1]}/"


# Independent clients


def test_websockets(server: HttpServer, context: ssl.SSLContext) -> None:
    async def talk() -> None:
        async with asyncio.timeout(PATIENCE), connect(url(server), ssl=context) as client:
            for message in ("hello", "h\u00e9llo", b"\0\xff", BIG, "x" * MIB):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())
        assert (client.close_code, client.close_reason) == (1000, "")

    run(talk())


def test_websocket_client(server: HttpServer, context: ssl.SSLContext) -> None:
    client = websocket.create_connection(url(server), timeout=PATIENCE, sslopt={"context": context})
    client.send("hello")
    assert client.recv() == "hello"
    client.send_binary(BIG)
    assert client.recv() == BIG
    client.close(status=4001, reason=b"bye")
    assert not client.connected


def test_websockets_with_compression(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    config = WebSocketConfig(compression=CompressionConfig(context_takeover=True))
    server = serve(Echo(), config, authority.server.config())

    async def talk() -> None:
        async with asyncio.timeout(PATIENCE), connect(url(server), ssl=context) as client:
            (extension,) = client.protocol.extensions
            assert extension.name == "permessage-deflate"
            for _ in range(3):
                await client.send("compress me " * 1000)
                assert await client.recv() == "compress me " * 1000

    run(talk())


# Cut in any way


def test_frames_in_one_record_with_the_handshake(
    server: HttpServer, context: ssl.SSLContext
) -> None:
    with RawWebSocket(server.address, context=context) as client:
        client.send(request_head() + frame(TEXT, b"one") + frame(TEXT, b"two") + b"\x81")
        assert client.read_response_head()[0] == 101
        assert (client.read_text(), client.read_text()) == ("one", "two")
        client.send(frame(TEXT, b"three")[1:])
        assert client.read_text() == "three"


@pytest.mark.parametrize("cut", [0, 1, 3, 20, None])
def test_handshake_frames_and_half_a_record_in_one_segment_with_the_end_of_tls_handshake(
    server: HttpServer, context: ssl.SSLContext, cut: int | None
) -> None:
    with Engine(server.address, context) as engine:
        for flight in engine.flights():
            if engine.is_over:
                first = engine.encrypt(request_head() + frame(TEXT, b"one"))
                second = engine.encrypt(frame(TEXT, b"two"))
                engine.send(flight + first + second[:cut])
                received = engine.until(b"one")
                engine.send(second[len(second[:cut]) :])
            else:
                engine.send(flight)
        assert ACCEPT.encode() in received
        assert (received + (b"" if b"two" in received else engine.until(b"two"))).endswith(
            b"\x81\x03one\x81\x03two"
        )


def test_a_byte_in_each_record_and_a_record_in_many_segments(
    server: HttpServer, context: ssl.SSLContext
) -> None:
    with Engine(server.address, context) as engine:
        engine.shake()
        for byte in request_head() + frame(TEXT, b"hello"):
            engine.send(engine.encrypt(bytes([byte])))
        assert engine.until(b"hello").endswith(b"\x81\x05hello")
        for byte in engine.encrypt(frame(TEXT, b"again")):
            engine.send(bytes([byte]))
        assert engine.until(b"again").endswith(b"\x81\x05again")


def test_a_large_frame_in_records_of_a_byte(server: HttpServer, context: ssl.SSLContext) -> None:
    payload = BIG[:20_000]
    with Engine(server.address, context) as engine:
        engine.shake()
        engine.send(engine.encrypt(request_head()))
        engine.until(b"\r\n\r\n")
        pieces = [bytes([byte]) for byte in frame(BINARY, payload)]
        engine.send(b"".join(map(engine.encrypt, pieces)))
        received = b""
        while len(received) < 4 + len(payload):
            received += engine.read()
        assert received == frame(BINARY, payload, mask=False)


# Much of it


def test_large_messages_both_ways(client: RawWebSocket) -> None:
    for _ in range(3):
        client.send(frame(BINARY, BIG))
        assert client.read_frame().payload == BIG
    fragments = [BIG[at : at + 100_000] for at in range(0, MIB, 100_000)]
    for number, fragment in enumerate(fragments):
        last = number == len(fragments) - 1
        client.send(frame(CONTINUATION if number else BINARY, fragment, fin=last))
    assert client.read_frame().payload == BIG


def test_slow_readers_get_every_byte_and_delay_nobody(
    server: HttpServer, context: ssl.SSLContext
) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(
                RawWebSocket.open(server.address, context=context, receive_buffer=4096)
            )
            for _ in range(2)
        ]
        for reader in slow:
            for _ in range(6):
                reader.send(frame(BINARY, BIG))
        other = stack.enter_context(RawWebSocket.open(server.address, context=context))
        for number in range(50):
            other.send_text(str(number))
            assert other.read_text() == str(number)
        for reader in slow:
            for _ in range(6):
                assert reader.read_frame().payload == BIG
            reader.send_text("still here")
            assert reader.read_text() == "still here"


def test_sends_of_many_threads_keep_each_threads_order(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    recorder = Recorder()
    server = serve(recorder, ROOMY, authority.server.config())
    with RawWebSocket.open(server.address, context=context) as client:
        connection = recorder.next("established")

        def send(name: int) -> None:
            for number in range(1000):
                connection.send_text(f"{name} {number}")

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        counts = [0] * 4
        for _ in range(4000):
            name, number = map(int, client.read_text().split())
            assert number == counts[name]
            counts[name] += 1
        for thread in threads:
            thread.join()
    assert counts == [1000] * 4


def test_a_broadcast_reaches_ws_and_wss_alike(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    websockets = WebSocketHandler(Echo())
    secure = serve(websockets, ROOMY, authority.server.config())

    def adopt_elsewhere(request: HttpRequestContext) -> HttpResponse | None:
        """Have the other server's manager, which has the connections by TLS, take this one."""
        request.server = secure
        return websockets.handle(request)

    plain = serve(adopt_elsewhere)
    manager = secure.websocket_manager
    with ExitStack() as stack:
        clients = [
            stack.enter_context(RawWebSocket.open(plain.address))
            if number % 2
            else stack.enter_context(RawWebSocket.open(secure.address, context=context))
            for number in range(20)
        ]
        schemes = sorted(connection.request.scheme for connection in manager.connections)
        assert schemes == ["http"] * 10 + ["https"] * 10
        for message in ("small", "x" * 100_000):
            for number in range(20):
                manager.broadcast(f"{number} {message}")
            for client in clients:
                for number in range(20):
                    assert client.read_text() == f"{number} {message}"
        manager.broadcast(BIG)
        for client in clients:
            assert client.read_frame().payload == BIG


# The end


def test_the_closing_handshake_of_the_client(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    recorder = Recorder()
    server = serve(recorder, ROOMY, authority.server.config())
    with RawWebSocket.open(server.address, context=context) as client:
        client.send_close(4001, "bye")
        assert client.read_close() == (4001, "bye")
        assert client.read_end() == b""  # with a close_notify
    assert recorder.wait_for("close") == (4001, "bye")
    assert recorder.next("closed").close_cause is CloseCause.PEER


def test_the_closing_handshake_of_the_server(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    recorder = Recorder()
    server = serve(recorder, ROOMY, authority.server.config())
    with RawWebSocket.open(server.address, context=context) as client:
        connection = recorder.next("established")
        connection.send_text("last words")
        connection.close(4002, "enough")
        assert client.read_text() == "last words"
        assert client.read_close() == (4002, "enough")
        client.send_close(4002)
        assert client.read_end() == b""
    assert recorder.wait_for("closed").close_cause is CloseCause.LOCAL


def test_a_stop_says_goodbye(serve: Serve, authority: Authority, context: ssl.SSLContext) -> None:
    recorder = Recorder()
    server = serve(recorder, ROOMY, authority.server.config())
    with ExitStack() as stack:
        clients = [
            stack.enter_context(RawWebSocket.open(server.address, context=context))
            for _ in range(5)
        ]
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send_close(1001)
            assert client.read_end() == b""
        stopping.join()
    for _ in clients:
        assert recorder.wait_for("closed").close_cause is CloseCause.SERVER_STOP


# What else there is to a connection


def test_pings_and_latency(serve: Serve, authority: Authority, context: ssl.SSLContext) -> None:
    recorder = Recorder()
    config = WebSocketConfig(ping_interval=0.05)
    server = serve(recorder, config, authority.server.config())
    with RawWebSocket.open(server.address, context=context) as client:
        connection = recorder.next("established")
        client.send(frame(PING, b"from the client"))
        answered = 0
        while answered < 2:
            received = client.read_frame()
            if received.opcode == PING:
                client.send(frame(PONG, received.payload))
                answered += 1
            else:
                assert (received.opcode, received.payload) == (PONG, b"from the client")
        while connection.latency is None:
            client.send_text("go on")
            recorder.next("text")
        assert 0 < connection.latency < PATIENCE


def test_the_request_of_a_connection_knows_its_tls(
    serve: Serve, authority: Authority, context: ssl.SSLContext, tls_version: str
) -> None:
    seen: list[Any] = []
    issued = authority.issue("somebody@example.com")
    context.load_cert_chain(*issued)

    def authorize(request: HttpRequest) -> HttpResponse | None:
        seen.append((request.scheme, request.client_certificate))
        return HttpResponse(status=401) if request.path == "/no" else None

    recorder = Recorder()
    handler = WebSocketHandler(recorder, authorize=authorize)
    server = serve(handler, tls=authority.server.config(client_ca=authority.file))
    with RawWebSocket(server.address, context=context) as client:
        client.send(request_head("/no"))
        assert client.read_response_head()[0] == 401
    with RawWebSocket.open(server.address, context=context):
        request = recorder.next("established").request
        assert request.environ["SSL_PROTOCOL"] == f"TLSv{tls_version}"
        seen.append((request.scheme, request.client_certificate))
        assert request.url == "https://127.0.0.1/"
    assert seen == [("https", issued.der)] * 3


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://localhost", "localhost", 101),
        ("https://localhost:443", "localhost", 101),
        ("https://localhost:8443", "localhost:8443", 101),
        ("http://localhost", "localhost", 403),
        ("http://localhost:443", "localhost", 403),
        ("https://localhost:8443", "localhost", 403),
        ("https://example.com", "localhost", 403),
        ("null", "localhost", 403),
    ],
)
def test_pages_of_the_same_origin_come_by_https(
    server: HttpServer, authority: Authority, origin: str, host: str, status: int
) -> None:
    with RawWebSocket(server.address, context=authority.client()) as client:
        client.send(request_head(Origin=origin, Host=host))
        assert client.read_response_head()[0] == status


def test_old_sockets_go_on_when_the_certificate_is_reloaded(
    serve: Serve, authority: Authority, context: ssl.SSLContext, tmp_path: Path
) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost")
    files = Files(tmp_path, first)
    server = serve(Echo(), ROOMY, files.config())
    with ExitStack() as stack:

        def open_socket() -> RawWebSocket:
            return stack.enter_context(RawWebSocket.open(server.address, context=context))

        old = [open_socket() for _ in range(5)]
        files.replace(second)
        server.reload_tls()
        new = [open_socket() for _ in range(5)]
        files.issued.certificate.unlink()
        with pytest.raises(ValueError, match=r"^certificate "):
            server.reload_tls()
        new += [open_socket() for _ in range(5)]
        server.websocket_manager.broadcast("to all")
        for clients, issued in ((old, first), (new, second)):
            for client in clients:
                assert isinstance(client.socket, ssl.SSLSocket)
                assert client.socket.getpeercert(binary_form=True) == issued.der
                assert client.read_text() == "to all"
                client.send_text("hello")
                assert client.read_text() == "hello"


def test_an_ordinary_request_and_a_handshake_on_one_connection(
    serve: Serve, authority: Authority, context: ssl.SSLContext
) -> None:
    websockets = WebSocketHandler(Echo())

    def handle(request: HttpRequestContext) -> HttpResponse | None:
        return HttpResponse("page") if request.head.path == "/page" else websockets.handle(request)

    server = serve(handle, tls=authority.server.config())
    with RawWebSocket(server.address, context=context) as client:
        client.send(get("/page") + request_head() + frame(TEXT, b"hello"))
        assert client.read_response_head()[0] == 200
        assert client._read(4) == b"page"
        assert client.read_response_head()[0] == 101
        assert client.read_text() == "hello"
