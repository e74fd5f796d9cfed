"""Subprotocols by the letter (RFC 6455 sections 1.9, 4.2.2 and 11.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler

from tests.http.raw_http import RawClient
from tests.websocket.handshakes import Unconnected, handshake
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SPOKEN = ("v2", "v1", "Case", ALL_CHARACTERS)

# What stands in the lines of Sec-WebSocket-Protocol, and what is agreed on.
OFFERS = [
    ((), None),
    (("v1",), "v1"),
    (("v1, v2",), "v1"),
    (("v2, v1",), "v2"),
    (("x, v2, v1",), "v2"),
    (("x",), None),
    (("x, y, z",), None),
    (("v",), None),
    (("v1v2",), None),
    # Order over several lines: they are one list.
    (("v1", "v2"), "v1"),
    (("v2", "v1"), "v2"),
    (("x", "y, v1", "v2"), "v1"),
    (("x", "y"), None),
    # White space.
    (("v1,v2",), "v1"),
    (("\tx\t,\t v1 \t",), "v1"),
    # Empty elements are no members: RFC 9110 section 5.6.1.2.
    (("x,,v1",), "v1"),
    ((",v1",), "v1"),
    (("v1,",), "v1"),
    ((", \t,, v1 ,\t, ,x, ",), "v1"),
    (("", "v1"), "v1"),
    (("v1", ""), "v1"),
    ((",", "x", ",,", "v2"), "v2"),
    # Names are compared as they stand.
    (("V1",), None),
    (("case, CASE",), None),
    (("case, Case",), "Case"),
    (("v1, V1",), "v1"),
    ((f"x, {ALL_CHARACTERS}",), ALL_CHARACTERS),
]

MALFORMED = [
    # At least one member.
    ("",),
    (",",),
    (" , ,\t,",),
    ("", ""),
    ("", ","),
    # All of them different: RFC 6455 section 4.1.
    ("v1, v1",),
    ("x, v1, x",),
    ("v1", "v1"),
    ("x, y", "v1, x"),
    # All of them tokens.
    ('"v1"',),
    ('v1, "v2"',),
    ('"v1, v2"',),
    ('v1"',),
    ("v1 v2",),
    ("v1\tv2",),
    ("v1; q=1",),
    ("v1;v2",),
    ("v1=1",),
    ("v1/2",),
    ("v1, x/y",),
    ("(v1)",),
    ("v1, \\v2",),
    ("<v1>", "v2"),
    ("{v1}",),
    ("[v1]",),
    ("v1?",),
    ("a@v1",),
    ("http://v1",),
    ("\xe9",),
    ("v1, \xa0",),
    ("v1, v2\x85",),
]


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(recorder: Recorder) -> Iterator[HttpServer]:
    handler = WebSocketHandler(recorder, subprotocols=SPOKEN)
    with HttpServer(handler, ServerConfig(port=0)) as server:
        yield server


@pytest.mark.parametrize(("offer", "agreed"), OFFERS)
def test_the_clients_first_that_we_speak_is_agreed_on(
    server: HttpServer, recorder: Recorder, offer: tuple[str, ...], agreed: str | None
) -> None:
    with RawClient(server.address) as client:
        response = client.request(protocols(*offer))
        assert response.status == 101
        assert response.get("Sec-WebSocket-Protocol") == agreed  # and there is one at most
        assert recorder.next("established").subprotocol == agreed
    recorder.next("closed")


@pytest.mark.parametrize("offer", MALFORMED)
def test_a_malformed_offer_is_refused(
    server: HttpServer, recorder: Recorder, offer: tuple[str, ...]
) -> None:
    with RawClient(server.address) as client:
        response = client.request(protocols(*offer))
        assert response.status == 400
        assert response.body == b"Sec-WebSocket-Protocol must be a list of different tokens\n"
        assert response.get("Sec-WebSocket-Protocol") is None
        assert client.request(handshake()).status == 101, "on the same connection"
    recorder.next("established")
    recorder.next("closed")


@pytest.mark.parametrize(("offer", "_"), OFFERS)
def test_a_server_that_speaks_none_agrees_on_none(offer: tuple[str, ...], _: str | None) -> None:
    answer = Unconnected(WebSocketHandler(WebSocketMessageHandler())).answer(protocols(*offer))
    assert answer.status == 101
    assert answer.get_all("Sec-WebSocket-Protocol") == []


@pytest.mark.parametrize("offer", MALFORMED)
def test_a_server_that_speaks_none_refuses_what_is_malformed(offer: tuple[str, ...]) -> None:
    answer = Unconnected(WebSocketHandler(WebSocketMessageHandler())).answer(protocols(*offer))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("subprotocols", "agreed"),
    [("v1", "v1"), (["v1"], "v1"), ({"x": 1, "v1": 2}, "v1"), (iter(["v2", "v1"]), "v2")],
)
def test_subprotocols_come_as_any_iterable_or_as_one(subprotocols: list[str], agreed: str) -> None:
    handler = WebSocketHandler(WebSocketMessageHandler(), subprotocols=subprotocols)
    answer = Unconnected(handler).answer(protocols("v2, v1"))
    assert answer.get_all("Sec-WebSocket-Protocol") == [agreed]


def protocols(*lines: str) -> bytes:
    return handshake(*(f"Sec-WebSocket-Protocol: {line}" for line in lines))
