"""Heads that are written down again from a WSGI environment: no rule may be lost on that way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from handy_ws import WebSocketHandler, WebSocketManager, WebSocketMessageHandler
from handy_ws.http.head import BadRequest
from handy_ws.websocket.acceptance import Acceptance
from handy_ws.websocket.foreign import opening_from_environ
from hypothesis import given

from tests.websocket.handshake_rules import Lines, fields
from tests.websocket.handshakes import Unconnected, handshake
from tests.websocket.raw_websocket import KEY

HANDLER = WebSocketHandler(WebSocketMessageHandler(), subprotocols=["v1", "v2"])
MANAGER = WebSocketManager()
OWN = Unconnected(HANDLER)


def environ_of(head: bytes, **more: Any) -> dict[str, Any]:
    """Return what gunicorn and werkzeug make of a head (both join fields that come twice)."""
    start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, protocol = start.split(" ")
    environ = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "SERVER_PROTOCOL": protocol,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
    }
    for line in lines:
        name, _, value = line.partition(":")
        key = name.upper().replace("-", "_")
        if key not in {"CONTENT_LENGTH", "CONTENT_TYPE"}:
            key = f"HTTP_{key}"
        value = value.strip(" \t")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ | more


def answer(environ: dict[str, Any]) -> int:
    """Return the status that an environment is answered with."""
    try:
        opening = opening_from_environ(environ)
    except BadRequest as refused:
        return refused.status
    accepted = HANDLER.check(opening, MANAGER.core)
    if isinstance(accepted, Acceptance):
        accepted.permit.release()
        return 101
    return accepted.status_code


@given(fields())
def test_what_our_own_server_refuses_is_refused(fields: dict[str, Lines]) -> None:
    missing = [name for name, lines in fields.items() if not lines]
    lines = [f"{name}:{value}" for name, lines in fields.items() for value in lines]
    head = handshake(*lines, without=missing)
    own, foreign = OWN.answer(head).status, answer(environ_of(head))
    assert (foreign == 101) == (own == 101)
    assert foreign in {own, 400}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 101),
        (["Origin: http://a"], 101),
        (["Cookie: a=b", "Cookie: c=d"], 101),
        (["X-Any: caf\xe9"], 101),
        (["Content-Length: 0"], 101),
        (["Content-Length: "], 101),  # PEP 3333: empty or missing
        (["Host: a", "Host: b"], 400),
        (["Host: a,b"], 400),
        (["Host: a b"], 400),
        (["Host: "], 400),
        (["Origin: http://a", "Origin: http://a"], 400),
        (["Sec-WebSocket-Key: " + KEY, "Sec-WebSocket-Key: " + KEY], 400),
        (["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"], 400),
        (["Content-Length: 5"], 400),
        (["Content-Length: +0"], 400),
        (["Content-Length: 0,0"], 400),
        (["Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: identity"], 400),
    ],
)
def test_fields(lines: list[str], status: int) -> None:
    assert answer(environ_of(handshake(*lines))) == status


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("HTTP_X_ANY", "a\r\nOrigin: http://a", 400),
        ("HTTP_X_ANY", "a\nb", 400),
        ("HTTP_X_ANY", "a\0", 400),
        ("HTTP_X_ANY", "\u20ac", 400),
        ("HTTP_X ANY", "a", 400),
        ("HTTP_", "a", 400),
        ("RAW_URI", "/a b", 400),
        ("RAW_URI", "/a HTTP/1.1\r\nHost: b", 400),
        ("RAW_URI", "", 101),  # then it is made of the path
        ("RAW_URI", "http://a/", 101),
        ("REQUEST_METHOD", "POST", 405),
        ("REQUEST_METHOD", "GET /", 400),
        ("SERVER_PROTOCOL", "HTTP/1.0", 400),
        ("SERVER_PROTOCOL", "HTTP/2", 400),
        ("SERVER_PROTOCOL", "HTTP/2.0", 505),
        ("SERVER_PROTOCOL", "HTTP/1.1\r\nHost: b", 400),
    ],
)
def test_environments(key: str, value: str, status: int) -> None:
    assert answer(environ_of(handshake(), **{key: value})) == status


def test_a_foreign_origin_is_compared_with_the_host_of_the_target() -> None:
    head = handshake("Origin: http://a", start="GET http://b/ HTTP/1.1")
    assert OWN.answer(head).status == answer(environ_of(head)) == 403


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/chat", "", "/chat"),
        ("/b\xc3\xbcro/a b", "q=%20", "/b%C3%BCro/a%20b?q=%20"),
        ("/a?b#c", "", "/a%3Fb%23c"),
        ("", "", "/"),
    ],
)
def test_a_target_that_is_not_told_is_made_of_the_path(path: str, query: str, target: str) -> None:
    given_ = environ_of(handshake(), RAW_URI="", PATH_INFO=path, QUERY_STRING=query)
    assert opening_from_environ(given_).head.target == target


def test_a_connection_keeps_little_of_an_environment() -> None:
    given_ = environ_of(handshake("Cookie: a=b"), SCRIPT_NAME="/app", **{"a.b": object()})
    opening = opening_from_environ(given_, {"room": "1"}, "ada")
    head = opening.source.head_bytes
    assert re.search(rb"\r\nCookie: a=b\r\n", head)
    request = opening.source.request()
    assert request is not opening.request
    for made in (request, opening.request):
        assert (made.root_path, made.cookies["a"], made.path_params["room"]) == ("/app", "b", "1")
        assert made.environ["wsgi.input"].read() == b""
        assert made.user == "ada"
        assert "a.b" not in made.environ


@pytest.mark.parametrize(
    ("scheme", "origin", "status"),
    [
        ("http", "http://a", 101),
        ("http", "https://a", 101),  # a proxy may have taken the TLS off, without a word
        ("https", "https://a", 101),
        ("https", "http://a", 403),
    ],
)
def test_the_scheme_counts_for_the_origin(scheme: str, origin: str, status: int) -> None:
    given_ = environ_of(handshake(f"Origin: {origin}"), **{"wsgi.url_scheme": scheme})
    assert answer(given_) == status
