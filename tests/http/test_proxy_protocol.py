"""The PROXY protocol: its header without sockets, and through a server."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import WebSocketHandler
from handy_ws.http.proxy_protocol import (
    Introduction,
    ProxyProtocolError,
    find_header_end,
    read_header,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.http.raw_http import RawClient, get, wrap
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from handy_ws import HttpRequestContext, HttpServer

    from tests.certificates import Authority
    from tests.http.conftest import Serve

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0x11, 0x12, 0x21, 0x22, 0x31, 0x32
LOCAL, PROXY = 0x20, 0x21


def binary(rest: bytes = b"", *, command: int = PROXY, family: int = TCP4) -> bytes:
    """Return a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def addresses(source: str, port: int, destination: str | None = None) -> bytes:
    """Return the addresses of a header."""
    both = [ip_address(source).packed, ip_address(destination or source).packed]
    return b"".join(both) + struct.pack("!HH", port, 443)


FROM_4 = addresses("192.0.2.1", 5000)
FROM_6 = addresses("2001:db8::1", 5000)
PATHS = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")
TLVS = b"\x02\x00\x03a.b" + b"\x04\x00\x00" + b"\x20\x00\x05\x01\0\0\0\0"
CLIENT_4 = Introduction(("192.0.2.1", 5000))
CLIENT_6 = Introduction(("2001:db8::1", 5000))
UNKNOWN = Introduction(None)
ITSELF = Introduction(None, is_local=True)

HEADERS = {
    "TCP over IPv4": (binary(FROM_4), CLIENT_4),
    "TCP over IPv6": (binary(FROM_6, family=TCP6), CLIENT_6),
    "UDP over IPv4, as of HTTP/3": (binary(FROM_4, family=UDP4), CLIENT_4),
    "UDP over IPv6": (binary(FROM_6, family=UDP6), CLIENT_6),
    "an IPv4 address in IPv6": (
        binary(addresses("::ffff:192.0.2.1", 5000), family=TCP6),
        CLIENT_4,
    ),
    "port 0": (binary(addresses("192.0.2.1", 0)), Introduction(("192.0.2.1", 0))),
    "with TLVs": (binary(FROM_4 + TLVS), CLIENT_4),
    "with TLVs of version 6": (binary(FROM_6 + TLVS, family=TCP6), CLIENT_6),
    "with something that is no TLV": (binary(FROM_4 + b"\xff"), CLIENT_4),
    "the longest": (binary(FROM_4 + b"\4" * (65535 - len(FROM_4))), CLIENT_4),
    "unix": (binary(PATHS, family=UNIX), UNKNOWN),
    "unix datagrams": (binary(PATHS + TLVS, family=UNIX_DATAGRAM), UNKNOWN),
    "unspecified": (binary(family=0x00), UNKNOWN),
    "unspecified with something": (binary(b"something", family=0x00), UNKNOWN),
    "unspecified family": (binary(family=0x01), UNKNOWN),
    "unspecified transport": (binary(FROM_4, family=0x10), UNKNOWN),
    "local": (binary(command=LOCAL, family=0x00), ITSELF),
    "local with addresses and TLVs": (binary(FROM_4 + TLVS, command=LOCAL), ITSELF),
    "local with an unknown family": (binary(b"x", command=LOCAL, family=0xFF), ITSELF),
    "version 1, IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n", CLIENT_4),
    "version 1, IPv6": (b"PROXY TCP6 2001:DB8::1 ::1 5000 443\r\n", CLIENT_6),
    "version 1, IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 443\r\n", CLIENT_4),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", UNKNOWN),
    "version 1, unknown with something": (b"PROXY UNKNOWN ff:f::\0 \n\r x\r\n", UNKNOWN),
    "version 1, the longest": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", UNKNOWN),
}

MALFORMED = {
    "nothing of the kind": get(),
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "another signature": SIGNATURE[:-1] + b"\r" + binary(FROM_4)[12:],
    "empty lines": b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
    "version 1 in binary": binary(FROM_4, command=0x11),
    "version 3": binary(FROM_4, command=0x31),
    "an unknown command": binary(FROM_4, command=0x22),
    "an unknown family": binary(PATHS, family=0x41),
    "an unknown transport": binary(PATHS, family=0x13),
    "no addresses": binary(),
    "IPv4 too short": binary(FROM_4[:-1]),
    "IPv6 too short": binary(FROM_6[:-1], family=TCP6),
    "IPv4 for IPv6": binary(FROM_4, family=TCP6),
    "unix too short": binary(PATHS[:-1], family=UNIX),
    **{
        f"version 1: {line!r}": line
        for line in (
            b"PROXY\r\n",
            b"PROXY \r\n",
            b"PROXX TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.256 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP6 ::1 fe80::1%eth0 1 2\r\n",
            b"PROXY TCP6 ::1 ::1::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\t2\r\n",
            b"PROXY TCP4 \xb2.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 " + b"x" * 72,
            b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        )
    },
}


def read(data: bytes) -> Introduction | None:
    """Read a header that came at once; None if it is not all there."""
    end = find_header_end(data)
    return read_header(data[:end]) if end else None


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_wherever_it_ends(name: str) -> None:
    header, expected = HEADERS[name]
    assert find_header_end(header) == len(header)
    assert find_header_end(bytearray(header + get())) == len(header)
    assert read_header(header) == expected
    for cut in range(1, min(len(header), 300)):
        assert find_header_end(header[:cut]) == 0
    assert find_header_end(header[:-1]) == 0


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_header_is_refused(name: str) -> None:
    with pytest.raises(ProxyProtocolError):
        read(MALFORMED[name])


@given(noise=st.binary(min_size=1, max_size=300), start=st.sampled_from([*HEADERS]))
def test_noise_is_a_header_or_refused(noise: bytes, start: str) -> None:
    header = HEADERS[start][0][:400]
    for data in (noise, header[: len(noise)] + noise, header[:12] + noise, b"PROXY TCP" + noise):
        try:
            introduction = read(data)
        except ProxyProtocolError:
            continue
        if introduction is not None and introduction.address is not None:
            host, port = introduction.address
            assert str(ip_address(host)) == host
            assert 0 <= port <= 65535


@given(
    source=st.ip_addresses(),
    destination=st.ip_addresses(),
    port=st.integers(0, 65535),
    tlvs=st.binary(max_size=100),
    is_udp=st.booleans(),
    cut=st.integers(1, 200),
)
def test_what_a_proxy_writes_is_read(  # noqa: PLR0913, PLR0917 - they are drawn
    source: Any, destination: Any, port: int, tlvs: bytes, is_udp: bool, cut: int
) -> None:
    family = (0x10 if source.version == 4 else 0x20) | (2 if is_udp else 1)
    if destination.version != source.version:
        destination = source
    rest = source.packed + destination.packed + struct.pack("!HH", port, 1) + tlvs
    header = binary(rest, family=family)
    mapped = getattr(source, "ipv4_mapped", None)
    expected = Introduction((str(mapped or source), port))
    assert read(header + b"behind") == expected
    if cut < len(header):
        assert read(header[:cut]) is None
    text = f"PROXY TCP{source.version} {source} {destination} {port} 1\r\n".encode()
    assert read(text + b"behind") == expected


# Through a server

SETTINGS: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True}


def describe(context: HttpRequestContext) -> None:
    request = context.request
    answer = [*context.source.remote_address, request.remote_addr, request.scheme]
    context.response.data = json.dumps(answer)


def description(client: RawClient, *fields: str) -> list[Any]:
    answer: list[Any] = json.loads(client.get("/", *fields).body)
    return answer


@pytest.mark.parametrize("header", [binary(FROM_4 + TLVS), HEADERS["version 1, IPv4"][0]])
def test_the_client_is_the_one_that_the_proxy_names(serve: Serve, header: bytes) -> None:
    client = serve.client(serve(describe, **SETTINGS))
    client.send(header)
    for _ in range(3):
        assert description(client) == ["192.0.2.1", 5000, "192.0.2.1", "http"]


def test_header_and_requests_may_come_at_once(serve: Serve) -> None:
    client = serve.client(serve(describe, **SETTINGS))
    client.send(binary(FROM_6, family=TCP6) + get() + get())
    for _ in range(2):
        assert json.loads(client.response().body)[0] == "2001:db8::1"


def test_a_header_may_come_byte_by_byte(serve: Serve) -> None:
    server = serve(describe, **SETTINGS)
    for header in (binary(FROM_4 + TLVS), HEADERS["version 1, IPv4"][0]):
        client = serve.client(server)
        for byte in header + get():
            client.send(bytes([byte]))
        assert json.loads(client.response().body)[0] == "192.0.2.1"


def test_a_header_as_long_as_it_may_be(serve: Serve) -> None:
    client = serve.client(serve(describe, **SETTINGS))
    client.send(HEADERS["the longest"][0])
    assert description(client)[0] == "192.0.2.1"


@pytest.mark.parametrize(
    "name", ["unix", "unspecified", "local", "version 1, unknown", "local with addresses and TLVs"]
)
def test_without_an_address_the_client_is_the_proxy(serve: Serve, name: str) -> None:
    client = serve.client(serve(describe, **SETTINGS))
    client.send(HEADERS[name][0])
    assert description(client)[:3] == [*client.sock.getsockname(), "127.0.0.1"]


@pytest.mark.parametrize("name", MALFORMED)
def test_a_connection_that_begins_otherwise_is_closed_without_a_word(
    serve: Serve, name: str
) -> None:
    client = serve.client(serve(describe, **SETTINGS))
    client.send(MALFORMED[name])
    assert client.is_closed()


def test_a_header_that_does_not_end_is_waited_for_until_the_deadline(serve: Serve) -> None:
    server = serve(describe, **SETTINGS, head_timeout=0.1)
    for header in (b"", SIGNATURE, binary(FROM_4)[:-1], b"PROXY TCP4 "):
        client = serve.client(server)
        if header:
            client.send(header)
        assert client.is_closed()


def test_a_client_has_its_own_time_behind_the_header(serve: Serve) -> None:
    client = serve.client(serve(describe, **SETTINGS, head_timeout=0.1))
    client.send(binary(FROM_4) + b"GET")
    assert client.response().status == 408


def test_a_proxy_that_leaves_in_its_header_is_forgotten(serve: Serve) -> None:
    server = serve(describe, **SETTINGS)
    for header in (b"", SIGNATURE):
        with RawClient(server.address) as client:
            client.send(header)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.is_closed()


def test_a_server_stops_while_it_waits_for_a_header(serve: Serve) -> None:
    server = serve(describe, **SETTINGS)
    client = serve.client(server)
    client.send(SIGNATURE)
    other = serve.client(server)
    other.send(binary(FROM_4))
    assert description(other)[0] == "192.0.2.1"
    server.stop()
    assert client.is_closed()


@pytest.mark.parametrize("header", [binary(FROM_4), HEADERS["version 1, IPv4"][0]])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"trusted_proxies": ["127.0.0.1"]},
        {"trusted_proxies": ["10.0.0.0/8", "unix"], "proxy_protocol": True},
    ],
    ids=["nobody is trusted", "it is not spoken", "others are trusted"],
)
def test_from_everybody_else_a_header_is_garbage(
    serve: Serve, settings: dict[str, Any], header: bytes
) -> None:
    server = serve(describe, **settings)
    assert description(serve.client(server))[2] == "127.0.0.1"
    client = serve.client(server)
    assert client.request(header + get()).status == 400
    assert client.is_closed()


# Who speaks behind the header, and is its word taken?

SAYS = "X-Forwarded-For: 203.0.113.9"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        # A client, or nobody knows who: its fields mean nothing.
        (binary(FROM_4), "192.0.2.1"),
        (binary(family=0x00), "127.0.0.1"),
        (binary(PATHS, family=UNIX), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        # Another proxy of ours, or the same one that speaks for itself.
        (binary(addresses("10.0.0.1", 1)), "203.0.113.9"),
        (binary(addresses("::ffff:10.0.0.1", 1), family=TCP6), "203.0.113.9"),
        (binary(command=LOCAL, family=0x00), "203.0.113.9"),
    ],
)
def test_forwarded_fields_are_believed_from_the_one_that_the_header_names(
    serve: Serve, header: bytes, address: str
) -> None:
    proxies = ["127.0.0.1", "10.0.0.0/8", "unix"]
    client = serve.client(serve(describe, trusted_proxies=proxies, proxy_protocol=True))
    client.send(header)
    assert description(client, SAYS)[0] == address


def test_a_proxy_at_the_unix_socket_speaks_it_too(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = serve(describe, unix_socket=path, trusted_proxies=["unix"], proxy_protocol=True)
    client = serve.client(server)
    client.send(binary(FROM_4))
    assert description(client, SAYS)[0] == "192.0.2.1"
    itself = serve.client(server)
    itself.send(binary(command=LOCAL, family=0))
    assert description(itself)[:2] == ["", 0]
    assert description(itself, SAYS)[:2] == ["203.0.113.9", 0]
    silent = serve.client(server)
    silent.send(get())
    assert silent.is_closed()


def test_a_websocket_connection_has_the_address_of_its_client(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(WebSocketHandler(recorder), **SETTINGS)
    with RawWebSocket(server.address) as client:
        client.send(binary(FROM_4))
        client.upgrade()
        assert recorder.next("established").remote_address == ("192.0.2.1", 5000)


# TLS begins behind the header


def tls_server(serve: Serve, authority: Authority, **settings: Any) -> HttpServer:
    return serve(describe, **SETTINGS, tls=authority.server.config(), **settings)


def begin_tls(client: RawClient, authority: Authority, tls_version: str) -> None:
    client.sock = wrap(client.sock, authority.client(tls_version))


@pytest.mark.parametrize("header", [binary(FROM_4 + TLVS), HEADERS["version 1, IPv4"][0]])
def test_a_session_begins_behind_the_header(
    serve: Serve, authority: Authority, tls_version: str, header: bytes
) -> None:
    client = serve.client(tls_server(serve, authority))
    client.send(header)
    begin_tls(client, authority, tls_version)
    for _ in range(2):
        assert description(client) == ["192.0.2.1", 5000, "192.0.2.1", "https"]


def test_header_and_hello_may_come_at_once_or_cut_anywhere(
    serve: Serve, authority: Authority
) -> None:
    server = tls_server(serve, authority)
    header = binary(FROM_4)
    for sizes in ([len(header) + 1], [len(header) + 200], [1] * (len(header) + 10), [len(header)]):
        client = serve.client(server)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = authority.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        data = header + outgoing.read()
        for size in sizes:
            client.send(data[:size])
            data = data[size:]
        client.send(data)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(client.sock.recv(65536))
        session.write(get("/", "Connection: close"))
        client.send(outgoing.read())
        incoming.write(client.to_end())
        assert b'"192.0.2.1"' in session.read(65536)


def test_a_session_without_a_header_is_closed_without_a_word(
    serve: Serve, authority: Authority
) -> None:
    client = serve.client(tls_server(serve, authority))
    client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    assert client.is_closed()


def test_plain_http_behind_the_header_is_told_that_the_port_speaks_tls(
    serve: Serve, authority: Authority
) -> None:
    client = serve.client(tls_server(serve, authority))
    response = client.request(binary(FROM_4) + get())
    assert response.status == 400
    assert b"https" in response.body


def test_a_handshake_behind_the_header_has_a_deadline(serve: Serve, authority: Authority) -> None:
    client = serve.client(tls_server(serve, authority, head_timeout=0.1))
    client.send(binary(FROM_4) + b"\x16\x03\x01\x02\x00")
    assert client.is_closed()


def test_a_header_within_the_session_is_garbage(serve: Serve, authority: Authority) -> None:
    server = serve(describe, trusted_proxies=["127.0.0.1"], tls=authority.server.config())
    client = serve.client(server, context=authority.client())
    assert client.request(binary(FROM_4) + get()).status == 400
