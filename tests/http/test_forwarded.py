"""Whom a request comes from: what proxies say about it, and whose word is taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    HttpResponse,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
)
from handy_ws.http.forwarded import TrustedProxies
from handy_ws.http.head import BadRequest, RequestSource, parse_head
from hypothesis import given
from hypothesis import strategies as st

from tests.http.raw_http import get
from tests.websocket.raw_websocket import RawWebSocket, request_head
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from handy_ws import HttpRequestContext

    from tests.certificates import Authority
    from tests.http.conftest import Serve

PEER = ("127.0.0.1", 4321)
PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:f::/48")
X_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")

Told = tuple[tuple[str, int], str, str | None]


def told(*fields: str, headers: tuple[str, ...] = X_FORWARDED, host: str = "Host: a") -> Told:
    """Return client, scheme and host of a request that comes with those fields from a proxy."""
    lines = ["GET / HTTP/1.0", *([host] if host else []), *fields, "", ""]
    data = "\r\n".join(lines).encode("latin-1")
    source = RequestSource(data, PEER, ("127.0.0.1", 80))
    head = TrustedProxies(PROXIES, headers).apply(source, parse_head(data))
    # Whoever asks later, and parses it anew, is told the same.
    assert source.head().headers == head.headers
    assert source.head().get("host") == head.get("host")
    return source.remote_address, source.scheme, head.get("host")


def forwarded(*values: str) -> Told:
    return told(*(f"Forwarded: {value}" for value in values), headers=("Forwarded",))


# X-Forwarded-For

CLIENTS = [
    ([], PEER),
    ([""], PEER),
    (["192.0.2.1"], ("192.0.2.1", 0)),
    (["192.0.2.1:1234"], ("192.0.2.1", 1234)),
    (["2001:DB8::1"], ("2001:db8::1", 0)),
    (["[2001:db8:0::1]"], ("2001:db8::1", 0)),
    (["[2001:db8::1]:65535"], ("2001:db8::1", 65535)),
    (["::ffff:192.0.2.1"], ("192.0.2.1", 0)),
    # Proxies of ours in between are passed over.
    (["192.0.2.1, 10.0.0.1"], ("192.0.2.1", 0)),
    (["192.0.2.1,10.0.0.1,10.9.9.9"], ("192.0.2.1", 0)),
    (["192.0.2.1", "10.0.0.1"], ("192.0.2.1", 0)),
    (["192.0.2.1, ::ffff:10.0.0.1, [2001:db8:f::1]:80"], ("192.0.2.1", 0)),
    ([", 192.0.2.1 ,\t, 10.0.0.1,"], ("192.0.2.1", 0)),
    (["10.0.0.7, 10.0.0.1"], ("10.0.0.7", 0)),
    # What the client itself says is not looked at, whatever it is.
    (["203.0.113.1, 192.0.2.1"], ("192.0.2.1", 0)),
    (["127.0.0.1, 192.0.2.1, 10.0.0.1"], ("192.0.2.1", 0)),
    (['garbage", 192.0.2.1'], ("192.0.2.1", 0)),
    (["10.0.0.1", "192.0.2.1"], ("192.0.2.1", 0)),
    # A proxy that does not tell whom it speaks for, or calls it by a name.
    (["192.0.2.1, unknown, 10.0.0.1"], ("unknown", 0)),
    (["_a.b-c_1"], ("_a.b-c_1", 0)),
]

MALFORMED_NODES = [
    "garbage",
    "localhost",
    "1",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.01",
    "\xb2.0.2.1",
    "0x7f.0.0.1",
    "192.0.2.1:",
    "192.0.2.1:65536",
    "192.0.2.1:123456",
    "192.0.2.1:+1",
    "192.0.2.1 x",
    "192.0.2.0/24",
    "2001:db8::1::2",
    "[2001:db8::1",
    "2001:db8::1]",
    "[2001:db8::1]80",
    "[192.0.2.1]",
    "[]",
    "fe80::1%eth0",
    "_",
    "unknown:x",
    "\xe4",
]


@pytest.mark.parametrize(("values", "client"), CLIENTS, ids=str)
def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(
    values: list[str], client: tuple[str, int]
) -> None:
    fields = [f"X-Forwarded-For: {value}" for value in values]
    assert told(*fields) == (client, "http", "a")


@pytest.mark.parametrize("node", MALFORMED_NODES)
@pytest.mark.parametrize("behind", ["", ", 10.0.0.1"], ids=["last", "told by a proxy of ours"])
def test_a_malformed_address_is_refused(node: str, behind: str) -> None:
    with pytest.raises(BadRequest, match="x-forwarded-for") as caught:
        told(f"X-Forwarded-For: 192.0.2.1, {node}{behind}")
    assert caught.value.status == 400


# X-Forwarded-Proto, -Host, -Port


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("wss", "https"),
        ("ws", "http"),
        ("http, https", "https"),
        ("forged\xe4, https", "https"),
        ("", "http"),
    ],
)
def test_the_scheme_is_that_of_the_nearest_proxy(value: str, scheme: str) -> None:
    assert told(f"X-Forwarded-Proto: {value}") == (PEER, scheme, "a")


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        (["Host: b.example:81"], "b.example:81"),
        (["Host: forged, b.example"], "b.example"),
        (["Host: forged", "Host: [::1]:81"], "[::1]:81"),
        (["Host:"], "a"),
        (["Port: 8443"], "a:8443"),
        (["Port: 443", "Proto: https"], "a"),
        (["Port: 443", "Proto: http"], "a:443"),
        (["Port: 80"], "a"),
        (["Port: 80", "Host: b:81"], "b"),
        (["Port: 81", "Host: [::1]:80"], "[::1]:81"),
        (["Port: 81", "Host: [::1]"], "[::1]:81"),
    ],
    ids=str,
)
def test_the_host_is_that_of_the_nearest_proxy(fields: list[str], host: str) -> None:
    assert told(*(f"X-Forwarded-{field}" for field in fields))[2] == host


def test_a_host_need_not_be_there_to_be_replaced() -> None:
    assert told("X-Forwarded-Host: b", host="")[2] == "b"
    assert told("X-Forwarded-Port: 81", host="")[2] is None


@pytest.mark.parametrize(
    "field",
    [
        "Proto: ftp",
        "Proto: https://",
        "Proto: https;",
        "Host: a/b",
        "Host: u@a",
        "Host: [::1",
        "Host: a b",
        "Host: \xe4",
        "Port: 0",
        "Port: 65536",
        "Port: -1",
        "Port: +1",
        "Port: \xb2",
        "Port: http",
        "Port: " + "9" * 5000,
    ],
    ids=lambda field: field[:20],
)
def test_what_is_malformed_is_refused(field: str) -> None:
    with pytest.raises(BadRequest, match="malformed") as caught:
        told(f"X-Forwarded-{field}")
    assert caught.value.status == 400


# Forwarded

ELEMENTS = [
    ("", (PEER, "http", "a")),
    ("for=192.0.2.1", (("192.0.2.1", 0), "http", "a")),
    ('For="192.0.2.1:47011"', (("192.0.2.1", 47011), "http", "a")),
    ('for="[2001:DB8::1]"', (("2001:db8::1", 0), "http", "a")),
    ('for="[2001:db8::1]:4711"', (("2001:db8::1", 4711), "http", "a")),
    ('for="[2001:db8::1]:_port"', (("2001:db8::1", 0), "http", "a")),
    ("for=unknown", (("unknown", 0), "http", "a")),
    ("for=_SEVKISEK", (("_SEVKISEK", 0), "http", "a")),
    ('for="_mdn:_x"', (("_mdn", 0), "http", "a")),
    ("for=192.0.2.1;proto=https;host=b", (("192.0.2.1", 0), "https", "b")),
    ('proto=HTTPS ; host="b:81" ;by=10.0.0.1; for=192.0.2.1', (("192.0.2.1", 0), "https", "b:81")),
    ('for="192.0.\\2.1"', (("192.0.2.1", 0), "http", "a")),
    ('for=192.0.2.1;secret="a,b;c=\\"d\\""', (("192.0.2.1", 0), "http", "a")),
    (";;for=192.0.2.1;", (("192.0.2.1", 0), "http", "a")),
    (", ,for=192.0.2.1 , ", (("192.0.2.1", 0), "http", "a")),
    # A proxy of ours is passed over, and what it was told is believed.
    ("for=192.0.2.1, for=10.0.0.1", (("192.0.2.1", 0), "http", "a")),
    (
        "for=192.0.2.1;proto=https;host=b, for=10.0.0.1;proto=http;host=c",
        (("192.0.2.1", 0), "https", "b"),
    ),
    ("for=192.0.2.1, for=10.0.0.1;proto=https;host=c", (("192.0.2.1", 0), "https", "c")),
    # What the client says is not.
    ("for=1.1.1.1;proto=https;host=x, for=192.0.2.1;proto=http", (("192.0.2.1", 0), "http", "a")),
    ("for=garbage;proto=x, for=192.0.2.1", (("192.0.2.1", 0), "http", "a")),
    ("for=1.1.1.1;host=x, proto=https", (PEER, "https", "a")),
]


@pytest.mark.parametrize(("value", "expected"), ELEMENTS, ids=str)
def test_forwarded_is_read_element_by_element_from_the_right(value: str, expected: Told) -> None:
    assert forwarded(value) == expected


def test_several_forwarded_fields_are_one_list() -> None:
    values = ["for=1.1.1.1", "for=192.0.2.1;proto=https", "for=10.0.0.1"]
    assert forwarded(*values) == (("192.0.2.1", 0), "https", "a")


@pytest.mark.parametrize(
    "value",
    [
        "192.0.2.1",
        "for",
        "for=",
        "=x",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=[2001:db8::1]",
        "for=192.0.2.1:80",
        'for="2001:db8::1"',
        "for=192.0.2.1 proto=https",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=192.0.2.1",
        "for=192.0.2.1;proto=ftp",
        'for=192.0.2.1;host="a/b"',
        'for=192.0.2.1;host=""',
        'for=""',
        "for='192.0.2.1'",
        # What a client begins must not swallow what a proxy adds.
        'for="',
        'for="1.1.1.1, for=192.0.2.1',
        'for="1.1.1.1\\", for=192.0.2.1',
        'for=", for="[2001:db8::1]"',
        "for=1.1.1.1;\xe4=b, for=192.0.2.1",
        *[f"for={node}" for node in MALFORMED_NODES if node.isalnum() and node.isascii()],
        *[f'for="{node}"' for node in MALFORMED_NODES],
    ],
)
def test_a_malformed_forwarded_field_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="forwarded") as caught:
        forwarded(value)
    assert caught.value.status == 400


@given(value=st.text('frohpt=;," \t\\[]:.019abunkw_-\xe4', max_size=60))
def test_any_value_is_read_or_refused(value: str) -> None:
    for name in (*X_FORWARDED, "Forwarded"):
        try:
            client, scheme, _ = told(f"{name}: {value}", headers=(name,))
        except BadRequest:
            continue
        assert scheme in {"http", "https"}
        assert client[0]


@pytest.mark.parametrize("begin", ["", ",", "x", "a=b", "a=", 'a="'], ids=repr)
@pytest.mark.parametrize("part", [" ", "\t", '"', "\\", 'a="\\', "a", "a=b ,", ",", ";"], ids=repr)
def test_reading_is_linear(begin: str, part: str) -> None:
    # A quadratic reader of this would take longer than the test may.
    with pytest.raises(BadRequest):
        forwarded(begin + part * (200_000 // len(part)) + "\xe4")


# Which fields are read, and whose word is taken


def test_other_fields_than_those_named_are_not_read() -> None:
    everything = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: b",
        "X-Forwarded-Port: 81",
        'Forwarded: for=192.0.2.2;proto=https;host="c"',
        "X-Real-IP: 192.0.2.3",
    ]
    assert told(*everything, headers=()) == (PEER, "http", "a")
    assert told(*everything, headers=("X-FORWARDED-for",)) == (("192.0.2.1", 0), "http", "a")
    assert told(*everything, headers=("x-forwarded-proto",)) == (PEER, "https", "a")
    assert told(*everything, headers=("forwarded",)) == (("192.0.2.2", 0), "https", "c")
    default = ServerConfig().forwarded_headers
    assert told(*everything, headers=tuple(default)) == (("192.0.2.1", 0), "https", "a")


@pytest.mark.parametrize(
    ("host", "is_trusted"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.0.2", False),
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("2001:db8:f::1", True),
        ("2001:db8:e::1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("/run/socket", False),
    ],
)
def test_whose_word_is_taken(host: str, is_trusted: bool) -> None:
    assert TrustedProxies(PROXIES, ()).trust(host) is is_trusted


def test_the_peers_of_a_unix_socket_have_a_word_of_their_own() -> None:
    proxies = TrustedProxies(("unix",), ())
    assert proxies.trust("")
    assert not proxies.trust("127.0.0.1")


# Through a server

FIELDS = (
    "X-Forwarded-For: 203.0.113.1, 192.0.2.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: forged.example",
)


def describe(context: HttpRequestContext) -> None:
    request = context.request
    context.response.data = json.dumps(
        [
            context.source.remote_address,
            request.remote_addr,
            request.environ["REMOTE_PORT"],
            request.scheme,
            request.url,
        ]
    )


def described(serve: Serve, *fields: str, **settings: Any) -> list[Any]:
    client = serve.client(serve(describe, **settings))
    client.get("/other", *fields)
    description: list[Any] = json.loads(client.get("/path?q", *fields).body)
    return description


def test_a_trusted_proxy_is_believed(serve: Serve) -> None:
    assert described(serve, *FIELDS, trusted_proxies=["127.0.0.1"]) == [
        ["192.0.2.1", 0],
        "192.0.2.1",
        "0",
        "https",
        "https://localhost/path?q",
    ]


def test_the_host_is_believed_if_so_asked(serve: Serve) -> None:
    fields = ("X-Forwarded-Host: example.com",)
    settings = {"trusted_proxies": ["127.0.0.0/8"], "forwarded_headers": ["X-Forwarded-Host"]}
    assert described(serve, *fields, **settings)[-1] == "http://example.com/path?q"


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8", "::1", "unix")], ids=str)
def test_everybody_else_is_not_believed(serve: Serve, proxies: tuple[str, ...]) -> None:
    fields = (*FIELDS, "Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-For: garbage")
    address, remote_addr, port, scheme, url = described(serve, *fields, trusted_proxies=proxies)
    assert address == [remote_addr, int(port)]
    assert (remote_addr, scheme, url) == ("127.0.0.1", "http", "http://localhost/path?q")
    assert address[1] > 0


def test_what_a_proxy_says_holds_for_one_request(serve: Serve) -> None:
    client = serve.client(serve(describe, trusted_proxies=["127.0.0.1"]))
    for last in (1, 2, 3):
        body = client.get("/", f"X-Forwarded-For: 192.0.2.{last}").body
        assert json.loads(body)[1] == f"192.0.2.{last}"
    assert json.loads(client.get("/").body)[1] == "127.0.0.1"


def test_a_request_that_a_proxy_forwards_malformed_is_refused(serve: Serve) -> None:
    client = serve.client(serve(describe, trusted_proxies=["127.0.0.1"]))
    response = client.request(get("/", "X-Forwarded-For: nobody") + get("/smuggled"))
    assert response.status == 400
    assert b"x-forwarded-for" in response.body
    assert client.is_closed()


def test_a_redirect_leads_to_where_the_client_came_from(serve: Serve) -> None:
    paths = PathHandler().add("/folder/", lambda _: HttpResponse())
    client = serve.client(serve(paths, trusted_proxies=["127.0.0.1"]))
    response = client.get("/folder", *FIELDS)
    assert response.get("Location") == "https://localhost/folder/"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def test_a_proxy_at_the_unix_socket_is_believed_if_so_asked(serve: Serve, path: str) -> None:
    server = serve(describe, unix_socket=path, trusted_proxies=["unix"])
    client = serve.client(server)
    assert json.loads(client.get("/", *FIELDS).body)[:2] == [["192.0.2.1", 0], "192.0.2.1"]
    # A health check of the proxy has no client.
    assert json.loads(client.get("/").body)[:2] == [["", 0], ""]


def test_nobody_else_at_the_unix_socket_is_believed(serve: Serve, path: str) -> None:
    server = serve(describe, unix_socket=path, trusted_proxies=["0.0.0.0/0", "::/0"])
    client = serve.client(server)
    assert json.loads(client.get("/", *FIELDS).body)[:4] == [["", 0], "", "0", "http"]


# WebSocket connections


def handshake(client: RawWebSocket, *clients: str, **fields: str) -> int:
    """Do a handshake that a proxy forwards; return the status of the answer."""
    headers = {"X-Forwarded-For": ", ".join(clients), "X-Forwarded-Proto": "https"}
    client.send(request_head("/path?q", headers, **fields))
    return client.read_response_head()[0]


def test_a_connection_has_the_address_of_its_client(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(WebSocketHandler(recorder), trusted_proxies=["127.0.0.1"])
    with RawWebSocket(server.address) as client:
        assert handshake(client, "192.0.2.1:5") == 101
        connection = recorder.next("established")
        assert connection.remote_address == ("192.0.2.1", 5)
        # Long after, the request is made anew of what was kept.
        assert connection.request.remote_addr == "192.0.2.1"
        assert connection.request.url == "https://127.0.0.1/path?q"


def test_connections_are_counted_for_the_client_and_not_for_the_proxy(serve: Serve) -> None:
    config = WebSocketConfig(max_connections_per_address=1)
    handler = WebSocketHandler(Recorder())
    server = serve(handler, websocket=config, trusted_proxies=["127.0.0.1"])
    with (
        RawWebSocket(server.address) as one,
        RawWebSocket(server.address) as same,
        RawWebSocket(server.address) as other,
    ):
        assert handshake(one, "192.0.2.1") == 101
        assert handshake(same, "192.0.2.2", "192.0.2.1") == 429
        assert handshake(other, "192.0.2.2") == 101


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://www.example.com", 101),
        ("https://www.example.com:443", 101),
        ("https://evil.example", 403),
        ("https://127.0.0.1", 403),
        ("https://www.example.com:8443", 403),
    ],
)
def test_the_origin_is_compared_with_the_host_that_the_browser_sees(
    serve: Serve, origin: str, status: int
) -> None:
    server = serve(
        WebSocketHandler(Recorder()),
        trusted_proxies=["127.0.0.1"],
        forwarded_headers=["X-Forwarded-Proto", "X-Forwarded-Host"],
    )
    with RawWebSocket(server.address) as client:
        fields = {"Origin": origin, "X-Forwarded-Host": "www.example.com"}
        assert handshake(client, Host="127.0.0.1", **fields) == status


def test_an_untrusted_client_cannot_choose_the_host_of_its_origin(serve: Serve) -> None:
    server = serve(WebSocketHandler(Recorder()), forwarded_headers=["X-Forwarded-Host"])
    with RawWebSocket(server.address) as client:
        fields = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}
        assert handshake(client, **fields) == 403


def test_a_proxy_that_speaks_tls_to_us_says_what_its_client_spoke(
    serve: Serve, authority: Authority
) -> None:
    tls = authority.server.config()
    server = serve(describe, tls=tls, trusted_proxies=["127.0.0.1"])
    client = serve.client(server, context=authority.client())
    for proto in ("http", "https"):
        answer = json.loads(client.get("/", f"X-Forwarded-Proto: {proto}").body)
        assert answer[-2:] == [proto, f"{proto}://localhost/"]
