"""Sec-WebSocket-Extensions end to end (RFC 6455 section 9.1, RFC 7692 sections 5 and 7.1).

In the tables D stands for ``permessage-deflate``, S and C for its two ``no_context_takeover``, s
and c for its two ``max_window_bits``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    CompressionConfig,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.http.raw_http import RawClient
from tests.websocket.handshakes import Unconnected, handshake
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

ALONE = CompressionConfig()
TAKEOVER = CompressionConfig(context_takeover=True)
SMALL = CompressionConfig(context_takeover=True, window_bits=11)

PATHS = {"/off": None, "/alone": ALONE, "/takeover": TAKEOVER, "/small": SMALL}

WORDS = {
    "D": "permessage-deflate",
    "S": "server_no_context_takeover",
    "C": "client_no_context_takeover",
    "s": "server_max_window_bits",
    "c": "client_max_window_bits",
}

# The lines of the header, and the answer of /takeover.
OFFERS: list[tuple[tuple[str, ...], str | None]] = [
    (("D",), "D"),
    (("D; S",), "D; S"),
    (("D; C",), "D; C"),
    (("D; C; S",), "D; S; C"),
    (("D; s=15",), "D; s=15"),
    (("D; s=9",), "D; s=9"),
    (("D; c",), "D"),
    (("D; c=15",), "D"),
    (("D; c=8",), "D"),
    (("D; c; s=12; S; C",), "D; S; C; s=12"),
    # White space, quotes and empty elements.
    (("D;s=10",), "D; s=10"),
    (("\tD\t;\ts\t=\t10\t",), "D; s=10"),
    (("D ; s = 10",), "D; s=10"),
    (('D; s="10"',), "D; s=10"),
    (('D; s="\\1\\0"',), "D; s=10"),
    ((", \t,D,,",), "D"),
    # Several offers, best first.
    (("D; s=10, D; s=12, D",), "D; s=10"),
    (("D; s=12, D; s=10",), "D; s=12"),
    (("x-other, D",), "D"),
    (("x-other; a=1; b, y; z, D; S",), "D; S"),
    (("D, D, D",), "D"),
    # Several lines: they are one list.
    (("x-other", "D"), "D"),
    (("D; s=10", "D; s=12"), "D; s=10"),
    (("D; x", "D; s=12"), "D; s=12"),
    (("", "D", ","), "D"),
    # An offer that is declined, and the next one.
    (("D; s=8, D; S",), "D; S"),
    (("D; s=8", "D; s=16", "D; S"), "D; S"),
    (("D; S; S, D; C; C, D; s=10; s=10, D; c; c=10, D",), "D"),
    # Declined, all of them.
    (("x-other",), None),
    (("x-other, y; z=1",), None),
    (("D; s=8",), None),
    (("D; s",), None),
    (("D; s=7",), None),
    (("D; s=16",), None),
    (("D; s=010",), None),
    (("D; s=1e1",), None),
    (("D; s=10; s=10",), None),
    (("D; s=10; s=9",), None),
    (("D; c=7",), None),
    (("D; c=16",), None),
    (("D; c=+9",), None),
    (("D; c; c",), None),
    (("D; c=10; c",), None),
    (("D; S; S",), None),
    (("D; C; S; C",), None),
    (("D; S=1",), None),
    (('D; C="true"',), None),
    (("D; x",), None),
    (("D; S; x=1",), None),
    (("D; server_no_context_takeove",), None),
    (("D; Server_no_context_takeover",), None),
    (("Permessage-Deflate",), None),
    (("permessage-deflate2",), None),
    (("x-webkit-deflate-frame",), None),
]

# The answers of a server that wants windows of 11 bits.
SMALL_WINDOWS = [
    ("D", "D; s=11"),
    ("D; s=10", "D; s=10"),
    ("D; s=11", "D; s=11"),
    ("D; s=12", "D; s=11"),
    ("D; c", "D; s=11; c=11"),
    ("D; c=15", "D; s=11; c=11"),
    ("D; c=12", "D; s=11; c=11"),
    ("D; c=11", "D; s=11"),
    ("D; c=9", "D; s=11"),
    ("D; S; c", "D; S; s=11; c=11"),
]

MALFORMED = [
    ("",),
    (",",),
    (" , ,\t",),
    ("", ","),
    ("D;",),
    ("D; ",),
    ("D;;S",),
    ("D; S;",),
    (";S",),
    ("D S",),
    ("D, x y",),
    ("D; S C",),
    ("D; s=",),
    ("D; s=, D",),
    ("D; =10",),
    ("D; s==10",),
    ("D=1",),
    ("D; s=10 9",),
    ('"D"',),
    ('D; "S"',),
    ('D; s="10',),
    ('D; s=10"',),
    ('D; s=""',),
    ('D; s="1 0"',),
    ('D; s="10,"',),
    ('D; s="10\\"',),
    ('D; s="\\"10"',),
    ('D; s="10"0',),
    ("D; s='10 '",),
    ("D; s=10/1",),
    ("D; x=a@b",),
    ("D (comment)",),
    ("D; x=\xe9",),
    ('D; x="\xe9"',),
    ("\xe9",),
    ("D\xa0",),
    # Behind, or before, what is well formed.
    ("D, x; ",),
    ("x;, D",),
    ("D", "x; y="),
    ("x y", "D"),
    # A quoted string does not go on in the next line: the lines are joined with a comma.
    ('D; x="a', 'b"'),
]


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(recorder: Recorder) -> Iterator[HttpServer]:
    handler = PathHandler()
    for path, compression in PATHS.items():
        handler.add(path, WebSocketHandler(recorder, compression=compression))
    with HttpServer(handler, ServerConfig(port=0)) as server:
        yield server


def agree(server: HttpServer, recorder: Recorder, path: str, *lines: str) -> str | None:
    """Offer something, and return what was agreed on, as the answer and the connection have it."""
    with RawClient(server.address) as client:
        response = client.request(offer(*lines, path=path))
        assert response.status == 101
        agreed = response.get("Sec-WebSocket-Extensions")  # there is one at most
        assert recorder.next("established").extensions == (agreed or "")
        assert agreed != "", "there is no such field if nothing was agreed on"
    recorder.next("closed")
    return agreed


def offer(*lines: str, path: str = "/") -> bytes:
    fields = (f"Sec-WebSocket-Extensions: {spelled_out(line)}" for line in lines)
    return handshake(*fields, start=f"GET {path} HTTP/1.1")


def spelled_out(short: str) -> str:
    """Write the letters of the tables as words."""
    return re.sub(r"\b[DSCsc]\b", lambda letter: WORDS[letter[0]], short)


@pytest.mark.parametrize(("lines", "answer"), OFFERS)
def test_the_first_offer_that_can_be_satisfied_is_agreed_on(
    server: HttpServer, recorder: Recorder, lines: tuple[str, ...], answer: str | None
) -> None:
    expected = None if answer is None else spelled_out(answer)
    assert agree(server, recorder, "/takeover", *lines) == expected


@pytest.mark.parametrize(("lines", "answer"), OFFERS)
def test_without_takeover_both_sides_are_told_so(
    server: HttpServer, recorder: Recorder, lines: tuple[str, ...], answer: str | None
) -> None:
    expected = None
    if answer is not None:
        bits = [parameter for parameter in answer.split("; ") if "=" in parameter]
        expected = spelled_out("; ".join(["D; S; C", *bits]))
    assert agree(server, recorder, "/alone", *lines) == expected


@pytest.mark.parametrize(("line", "answer"), SMALL_WINDOWS)
def test_a_client_is_limited_only_if_it_allows_that(
    server: HttpServer, recorder: Recorder, line: str, answer: str
) -> None:
    assert agree(server, recorder, "/small", line) == spelled_out(answer)


@pytest.mark.parametrize("lines", [lines for lines, _ in OFFERS])
def test_nothing_is_agreed_on_without_compression(
    server: HttpServer, recorder: Recorder, lines: tuple[str, ...]
) -> None:
    assert agree(server, recorder, "/off", *lines) is None


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_agreed_on_without_an_offer(
    server: HttpServer, recorder: Recorder, path: str
) -> None:
    assert agree(server, recorder, path) is None


@pytest.mark.parametrize("lines", MALFORMED)
def test_a_malformed_header_is_refused_with_and_without_compression(
    server: HttpServer, recorder: Recorder, lines: tuple[str, ...]
) -> None:
    with RawClient(server.address) as client:
        for path in PATHS:
            response = client.request(offer(*lines, path=path))
            assert response.status == 400
            assert response.body.startswith(b"Sec-WebSocket-Extensions is malformed at byte ")
            assert response.get("Sec-WebSocket-Extensions") is None
        assert client.request(offer(path="/off")).status == 101, "on the same connection"
    recorder.next("established")
    recorder.next("closed")


# What the server's configuration and a handler's say, and what is agreed on.
@pytest.mark.parametrize(
    ("of_server", "of_handler", "answer"),
    [
        (None, "server", None),
        (None, None, None),
        (None, ALONE, "D; S; C"),
        (None, SMALL, "D; s=11; c=11"),
        (TAKEOVER, "server", "D"),
        (TAKEOVER, None, None),
        (TAKEOVER, ALONE, "D; S; C"),
        (SMALL, "server", "D; s=11; c=11"),
        (SMALL, TAKEOVER, "D"),
    ],
)
def test_a_handler_may_have_its_own_compression(
    of_server: CompressionConfig | None, of_handler: Any, answer: str | None
) -> None:
    recorder = Recorder()
    config = ServerConfig(port=0, websocket=WebSocketConfig(compression=of_server))
    handler = WebSocketHandler(recorder, compression=of_handler)
    with HttpServer(handler, config) as server:
        expected = None if answer is None else spelled_out(answer)
        assert agree(server, recorder, "/", "D; c") == expected


def test_the_servers_compression_is_the_default() -> None:
    handler = WebSocketHandler(WebSocketMessageHandler())
    for compression, expected in ((None, []), (TAKEOVER, [WORDS["D"]])):
        unconnected = Unconnected(handler, WebSocketConfig(compression=compression))
        answer = unconnected.answer(offer("D"))
        assert answer.get_all("Sec-WebSocket-Extensions") == expected


@pytest.mark.parametrize(
    "compression",
    [True, False, 0, 1, "", "Server", "deflate", b"server", {}, CompressionConfig, [ALONE]],
)
def test_compression_must_be_a_config_or_server_or_none(compression: Any) -> None:
    with pytest.raises(TypeError, match="compression must be a CompressionConfig"):
        WebSocketHandler(WebSocketMessageHandler(), compression=compression)


@pytest.mark.parametrize("compression", [True, "server", {}, CompressionConfig])
def test_a_servers_compression_must_be_a_config_or_none(compression: Any) -> None:
    with pytest.raises(ValueError, match=r"WebSocketConfig\.compression"):
        WebSocketConfig(compression=compression)
