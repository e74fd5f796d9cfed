"""TLS handshakes that are cut up, cut off, damaged, or no handshakes at all."""

from __future__ import annotations

import itertools
import random
import select
import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import Clock, poll
from tests.http.raw_http import RawClient, get, post
from tests.http.tls_clients import Engine, records
from tests.process import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext, HttpServer

    from tests.certificates import Authority
    from tests.http.conftest import Serve

HEAD_TIMEOUT = 60.0
HANDSHAKE, ALERT = 22, 21  # types of records
PROTOCOL_VERSION = 70  # an alert


def say_path(context: HttpRequestContext) -> None:
    context.response.data = context.head.path


@pytest.fixture
def server(serve: Serve, authority: Authority) -> HttpServer:
    config = authority.server.config()
    return serve(say_path, workers=1, head_timeout=HEAD_TIMEOUT, tls=config)


@pytest.fixture
def engine(server: HttpServer, authority: Authority, tls_version: str) -> Iterator[Engine]:
    with Engine(server.address, authority.client(tls_version)) as engine:
        yield engine


def is_alive(server: HttpServer, authority: Authority) -> bool:
    with RawClient(server.address, context=authority.client()) as client:
        return client.get("/alive").body == b"/alive"


def rest_of(client: RawClient) -> bytes:
    """Return what still comes, to the end of the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while data := client.sock.recv(65536):
            received += data
    return received


def alerts(data: bytes) -> list[int]:
    """Return the numbers of the alerts that were sent in plain."""
    return [record[6] for record in records(data) if record[0] == ALERT and len(record) == 7]


# Cut up


def test_a_handshake_byte_by_byte(engine: Engine) -> None:
    for flight in engine.flights():
        for byte in flight:
            engine.send(bytes([byte]))
    for byte in engine.encrypt(get("/dribbled")):
        engine.send(bytes([byte]))
    assert engine.until(b"/dribbled").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_handshake_record_by_record(engine: Engine) -> None:
    for flight in engine.flights():
        for record in records(flight):
            engine.send(record[:3])
            engine.send(record[3:])
    engine.send(engine.encrypt(get("/halves")))
    assert engine.until(b"/halves").startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_in_one_segment_with_the_end_of_the_handshake(engine: Engine) -> None:
    for flight in engine.flights():
        if engine.is_over:
            requests = engine.encrypt(get("/1")) + engine.encrypt(get("/2") + get("/3"))
            engine.send(flight + requests)
        else:
            engine.send(flight)
    assert engine.until(b"/3").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_close_notify_behind_a_request_ends_the_connection_behind_the_response(
    engine: Engine,
) -> None:
    engine.shake()
    for number in (1, 2):
        engine.send(engine.encrypt(get(f"/{number}")))
        assert engine.until(b"\r\n\r\n").endswith(f"/{number}".encode())
    engine.send(engine.encrypt(get("/last")) + engine.close_notify())
    assert engine.until(b"/last")
    assert engine.read() == b""


def test_half_a_request_with_the_end_of_the_handshake(engine: Engine) -> None:
    request = post("/body", b"the body")
    for flight in engine.flights():
        if engine.is_over:
            last = engine.encrypt(request[:20])
            engine.send(flight + last[:-1])
            engine.send(last[-1:] + engine.encrypt(request[20:]))
        else:
            engine.send(flight)
    assert engine.until(b"/body").startswith(b"HTTP/1.1 200 OK\r\n")


# Cut off


def say(engine: Engine, count: int) -> bytes:
    """Say so many records of the handshake, and return the next one."""
    for flight in engine.flights():
        for record in records(flight):
            if not count:
                return record
            engine.send(record)
            count -= 1
    return b""


def cut_anywhere(address: tuple[str, int], context: ssl.SSLContext) -> Iterator[Engine]:
    """Yield clients that say no more: from the middle or the end of each record of theirs on."""
    for count in itertools.count():
        for part in (2, 1):
            engine = Engine(address, context)
            record = say(engine, count)
            engine.send(record[: len(record) // part])
            yield engine
        if not record:
            return


def test_half_made_handshakes_hold_no_worker_and_end_at_the_deadline(
    server: HttpServer, authority: Authority, tls_version: str, clock: Clock
) -> None:
    before = open_descriptors()
    with ExitStack() as stack:
        silent = stack.enter_context(RawClient(server.address))
        engines = [
            stack.enter_context(engine)
            for engine in cut_anywhere(server.address, authority.client(tls_version))
        ]
        assert len(engines) >= 5
        assert is_alive(server, authority)
        clock.advance(HEAD_TIMEOUT / 2, server)
        assert is_alive(server, authority)
        assert silent.is_open()
        assert all(engine.raw.is_open() or engine.raw.sock.recv(65536) for engine in engines)
        clock.advance(HEAD_TIMEOUT / 2, server)
        assert rest_of(silent) == b""
        for engine in engines:
            assert b"HTTP" not in rest_of(engine.raw)
        assert is_alive(server, authority)
    poll(lambda: open_descriptors() <= before)


def test_a_dribbled_handshake_has_one_deadline_with_the_head(
    engine: Engine, server: HttpServer, authority: Authority, clock: Clock
) -> None:
    for flight in filter(None, engine.flights()):
        for part in (flight[:9], flight[9:]):
            engine.send(part)
            assert is_alive(server, authority)
            clock.advance(HEAD_TIMEOUT / 10, server)
    for byte in get()[:3]:
        engine.send(engine.encrypt(bytes([byte])))
        clock.advance(HEAD_TIMEOUT / 10, server)
        assert is_alive(server, authority)
    clock.advance(HEAD_TIMEOUT / 2, server)
    assert engine.until(b"\r\n\r\n").startswith(b"HTTP/1.1 408 ")


def test_a_silent_client_is_closed_in_real_time(serve: Serve, authority: Authority) -> None:
    server = serve(say_path, head_timeout=0.1, tls=authority.server.config())
    assert serve.client(server).is_closed()


def test_clients_that_vanish_in_the_handshake_leave_nothing_behind(
    server: HttpServer, authority: Authority, tls_version: str
) -> None:
    before = open_descriptors()
    for number, engine in enumerate(cut_anywhere(server.address, authority.client(tls_version))):
        if number % 2:
            now = struct.pack("ii", 1, 0)
            engine.raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        engine.raw.sock.close()
    assert is_alive(server, authority)
    poll(lambda: open_descriptors() <= before)


# Damaged

GARBAGE = {
    "nonsense in a record": b"\x16\x03\x01\x00\x08nonsense",
    "a record that is too long": b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    "a message that is too long": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
    "data before the handshake": b"\x17\x03\x03\x00\x05hello",
    "a fatal alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "a close_notify": b"\x15\x03\x01\x00\x02\x01\x00",
    "warnings without end": b"\x15\x03\x01\x00\x02\x01\x5a" * 10_000,
    "changes of the cipher without end": b"\x14\x03\x03\x00\x01\x01" * 10_000,
    "empty records without end": b"\x16\x03\x03\x00\x00" * 10_000,
    "a heartbeat": b"\x18\x03\x02\x00\x03\x01\x40\x00",
    "an unknown version": b"\x16\x09\x09\x00\x08nonsense",
    "a length and nothing else": b"\x16\x03\x01\x02\x00",
    "one byte": b"\x16",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_its_connection_and_nothing_else(
    server: HttpServer,
    authority: Authority,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
) -> None:
    with RawClient(server.address) as client:
        with suppress(ConnectionError):
            client.send(data)
        assert is_alive(server, authority)
        clock.advance(HEAD_TIMEOUT, server)
        # What begins like nothing that TLS begins with is told so.
        assert rest_of(client).startswith(b"HTTP/1.1 400 ") is (data[0] != HANDSHAKE)
    assert is_alive(server, authority)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_damaged_handshakes_end_their_connections_and_nothing_else(
    server: HttpServer, authority: Authority, tls_version: str, clock: Clock
) -> None:
    source = random.Random(tls_version)
    context = authority.client(tls_version)
    with ExitStack() as stack:
        engines = [stack.enter_context(Engine(server.address, context)) for _ in range(50)]
        for engine in engines:
            with suppress(OSError):
                for flight in engine.flights():
                    damaged = bytearray(flight)
                    for _ in range(source.randrange(3)):
                        if damaged:
                            damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
                    engine.send(damaged)
                    # A damaged length may have it wait for bytes that never come.
                    if not select.select([engine.raw.sock], [], [], 0.05)[0]:
                        break
        assert is_alive(server, authority)
        clock.advance(HEAD_TIMEOUT, server)
        for engine in engines:
            rest_of(engine.raw)
    assert is_alive(server, authority)


def test_a_damaged_record_after_the_handshake_ends_the_connection(engine: Engine) -> None:
    engine.shake()
    engine.send(engine.encrypt(get("/first")))
    assert b"/first" in engine.until(b"/first")
    record = bytearray(engine.encrypt(get("/damaged")))
    record[-1] ^= 1
    engine.send(record)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        engine.read()


# What is not spoken


def test_a_client_that_knows_only_older_versions_is_told_so(
    server: HttpServer, authority: Authority
) -> None:
    with Engine(server.address, authority.client("1.2")) as engine:
        hello = bytearray(next(engine.flights()))
        assert hello[9:11] == b"\x03\x03"
        hello[9:11] = b"\x03\x02"  # TLS 1.1
        engine.send(hello)
        assert alerts(rest_of(engine.raw)) == [PROTOCOL_VERSION]


def test_a_minimum_version(serve: Serve, authority: Authority) -> None:
    server = serve(say_path, tls=authority.server.config(minimum_version="1.3"))
    with Engine(server.address, authority.client("1.2")) as engine:
        engine.send(next(engine.flights()))
        assert alerts(rest_of(engine.raw)) == [PROTOCOL_VERSION]
    assert serve.client(server, context=authority.client("1.3")).get().status == 200


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1")]
)
def test_http_1_1_is_agreed_on(
    serve: Serve, server: HttpServer, authority: Authority, offered: list[str], chosen: str
) -> None:
    context = authority.client()
    context.set_alpn_protocols(offered)
    client = serve.client(server, context=context)
    assert isinstance(client.sock, ssl.SSLSocket)
    assert client.sock.selected_alpn_protocol() == chosen
    assert client.get().status == 200


def test_a_client_that_speaks_only_http_2_is_told_so(
    server: HttpServer, authority: Authority, tls_version: str
) -> None:
    context = authority.client(tls_version)
    context.set_alpn_protocols(["h2"])
    with (
        Engine(server.address, context) as engine,
        pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"),
    ):
        engine.shake()
    assert is_alive(server, authority)


@pytest.mark.parametrize("request_", [get("/"), post("/", b"x" * 500_000), b"G", b"\x80\x2e\x01"])
def test_a_plain_request_on_the_tls_port_is_told_so(
    server: HttpServer, serve: Serve, authority: Authority, request_: bytes
) -> None:
    client = serve.client(server)
    response = client.request(request_)
    assert (response.status, response.get("Connection")) == (400, "close")
    assert response.body == b"this port speaks TLS: use https:// or wss://\n"
    assert client.is_closed()
    assert is_alive(server, authority)


def test_a_tls_hello_on_a_plain_port_is_told_so(serve: Serve, authority: Authority) -> None:
    server = serve(say_path)
    with Engine(server.address, authority.client()) as engine:
        engine.send(next(engine.flights()))
        response = engine.raw.response()
        assert (response.status, response.get("Connection")) == (400, "close")
        assert response.body == b"TLS is not spoken here: use http:// or ws://\n"
        assert engine.raw.is_closed()
    # A client that is no test says what it makes of that.
    with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version|record layer"):
        RawClient(server.address, context=authority.client())


# The log


def test_a_failed_handshake_is_one_line_at_debug(
    server: HttpServer, caplog: pytest.LogCaptureFixture, tls_version: str, authority: Authority
) -> None:
    caplog.set_level("DEBUG", "handy_ws")
    context = authority.client(tls_version)
    with pytest.raises(ssl.SSLCertVerificationError), RawClient(server.address) as client:
        context.wrap_socket(client.sock, server_hostname="example.com")
    poll(lambda: "TLS with 127.0.0.1 failed: " in caplog.text)
    assert is_alive(server, authority)
    (record,) = [record for record in caplog.records if "TLS with" in record.getMessage()]
    assert (record.levelname, record.exc_info) == ("DEBUG", None)
