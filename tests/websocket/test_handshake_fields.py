"""The fields of a handshake by the letter: their grammar is in RFC 6455 and RFC 9110.

Lists (RFC 9110 section 5.6.1) may be spread over several lines and have empty elements; nothing
but commas, spaces and tabs separates their members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handy_ws import WebSocketHandler

from tests.http.raw_http import RawClient
from tests.websocket.handshakes import Unconnected, handshake
from tests.websocket.raw_websocket import KEY
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from tests.websocket.conftest import Serve

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
VERSION_TOO = {**UPGRADE, "Sec-WebSocket-Version": "13"}


# RFC 6455 section 4.2.1; the grammar is in RFC 9110 sections 7.6.1 and 7.8.
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Upgrade: websocket",), 101),
        (("Upgrade: WEBSOCKET",), 101),
        (("Upgrade: h2c, websocket",), 101),
        (("Upgrade: h2c,websocket,",), 101),
        (("Upgrade: , \t,,websocket",), 101),
        (("Upgrade: websocket, websocket",), 101),
        (("Upgrade: HTTP/2.0, IRC/6.9, websocket",), 101),
        (("Upgrade: h2c", "Upgrade: websocket"), 101),
        (("Upgrade: websocket", "Upgrade:"), 101),
        (("Upgrade: ", "uPGRADE: \twebsocket\t"), 101),
        (("Upgrade: websocket/13",), 426),
        (("Upgrade: websocket/",), 426),
        (("Upgrade: web", "Upgrade: socket"), 426),
        (("Upgrade: web socket",), 426),
        (("Upgrade: websocket h2c",), 426),
        (("Upgrade: websocket; q=1",), 426),
        (('Upgrade: "websocket"',), 426),
        (("Upgrade: websocket\x85",), 426),
        (("Upgrade: h2c",), 426),
        (("Upgrade: ,",), 426),
        (("Upgrade: ",), 426),
        (("Upgrade: websocket, a b",), 400),
        (("Upgrade: websocket, a/b/c",), 400),
        (("Upgrade: websocket, a/",), 400),
        (("Upgrade: websocket, /a",), 400),
        (('Upgrade: websocket, "a"',), 400),
        (("Upgrade: websocket, \xe9",), 400),
        (("Connection: Upgrade",), 101),
        (("Connection: upgrade",), 101),
        (("Connection: keep-alive, Upgrade",), 101),
        (("Connection: ,UPGRADE\t,,keep-alive ,",), 101),
        (("Connection: Upgrade, Upgrade",), 101),
        (("Connection: close, Upgrade",), 101),
        (("Connection: keep-alive", "Connection: Upgrade"), 101),
        (("Connection: Upgrade", "Connection:"), 101),
        (("Connection: keep-alive",), 400),
        (("Connection: keep-alive Upgrade",), 400),
        (("Connection: Upgrade;",), 400),
        (("Connection: Up", "Connection: grade"), 400),
        (('Connection: "Upgrade"',), 400),
        (("Connection: ,",), 400),
        (("Connection: ",), 400),
        (("Connection: Upgrade, a b",), 400),
        (("Connection: Upgrade, a/b",), 400),
        (('Connection: Upgrade, "a"',), 400),
        (("Connection: Upgrade, \xe9",), 400),
    ],
)
def test_upgrade_and_connection_are_lists(lines: tuple[str, ...], status: int) -> None:
    answer = Unconnected(WebSocketHandler(Recorder())).answer(handshake(*lines))
    assert answer.status == status
    if status == 426:
        assert_told_to_upgrade(answer.fields, UPGRADE)


# RFC 6455 sections 4.2.1 and 11.3.5.
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Sec-WebSocket-Version: 13",), 101),
        (("sec-websocket-version:\t13 \t",), 101),
        (("Sec-WebSocket-Version: 8",), 426),
        (("Sec-WebSocket-Version: 14",), 426),
        (("Sec-WebSocket-Version: 256",), 426),
        (("Sec-WebSocket-Version: 013",), 426),
        (("Sec-WebSocket-Version: +13",), 426),
        (("Sec-WebSocket-Version: 1 3",), 426),
        (("Sec-WebSocket-Version: 13.0",), 426),
        (("Sec-WebSocket-Version: 13, 8",), 426),
        (("Sec-WebSocket-Version: 13,",), 426),
        (('Sec-WebSocket-Version: "13"',), 426),
        (("Sec-WebSocket-Version: \xb9\xb3",), 426),
        (("Sec-WebSocket-Version:",), 426),
        (("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"), 400),
        (("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"), 400),
    ],
)
def test_the_version_is_13(lines: tuple[str, ...], status: int) -> None:
    answer = Unconnected(WebSocketHandler(Recorder())).answer(handshake(*lines))
    assert answer.status == status
    if status == 426:
        assert_told_to_upgrade(answer.fields, VERSION_TOO)


# RFC 6455 sections 4.2.1 and 11.3.1; base64 is RFC 4648 section 4.
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",), 101),
        (("SEC-WEBSOCKET-KEY:dGhlIHNhbXBsZSBub25jZQ==\t",), 101),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",), 101),
        (("Sec-WebSocket-Key: ++++++++++//////////zz==",), 101),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA===",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA===",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==A",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==, A",), 400),
        (("Sec-WebSocket-Key: =AAAAAAAAAAAAAAAAAAAAAA=",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA==",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=",), 400),
        (("Sec-WebSocket-Key: AAAAAAAAAAA AAAAAAAAAAA==",), 400),
        (("Sec-WebSocket-Key: ----------__________zz==",), 400),
        (('Sec-WebSocket-Key: "AAAAAAAAAAAAAAAAAAAAAA=="',), 400),
        (("Sec-WebSocket-Key: \xc1AAAAAAAAAAAAAAAAAAAAA==",), 400),
        (("Sec-WebSocket-Key:",), 400),
        ((f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY}"), 400),
    ],
)
def test_the_key_is_base64_of_16_bytes(lines: tuple[str, ...], status: int) -> None:
    assert Unconnected(WebSocketHandler(Recorder())).answer(handshake(*lines)).status == status


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Host", 400),
        ("Upgrade", 426),
        ("Connection", 400),
        ("Sec-WebSocket-Key", 400),
        ("Sec-WebSocket-Version", 400),
    ],
)
def test_none_of_the_five_may_be_missing(name: str, status: int) -> None:
    head = handshake(without=[name])
    assert Unconnected(WebSocketHandler(Recorder())).answer(head).status == status


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (handshake(without=["Upgrade"]), UPGRADE),
        (handshake("Sec-WebSocket-Version: 8"), VERSION_TOO),
    ],
)
def test_who_has_to_upgrade_is_told_to_what(
    serve: Serve, head: bytes, told: dict[str, str]
) -> None:
    server = serve(Recorder())
    with RawClient(server.address) as client:
        for _ in range(2):
            response = client.request(head)
            assert response.status == 426
            assert_told_to_upgrade(response.headers, told)
        assert client.request(handshake()).status == 101, "on the same connection"


def assert_told_to_upgrade(fields: list[tuple[str, str]], expected: dict[str, str]) -> None:
    """RFC 9110 section 15.5.22: a 426 names the protocol; RFC 6455 section 4.4: the version."""
    told = [(name, value.lower()) for name, value in fields if name in VERSION_TOO]
    assert sorted(told) == sorted((name, value.lower()) for name, value in expected.items())
