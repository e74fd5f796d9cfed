"""Random handshakes, checked against a second reading of the rules: `handshake_rules.py`.

They run for longer with ``--hypothesis-profile=fuzz``, and then with other examples each time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from handy_ws import CompressionConfig, WebSocketHandler, WebSocketMessageHandler
from handy_ws.http.head import BadRequest, find_head_end
from hypothesis import example, given
from hypothesis import strategies as st

from tests.websocket.handshake_rules import (
    RULES,
    TOKEN,
    VALID,
    Lines,
    all_lines,
    answer_to_offers,
    fields,
    members,
    statuses,
    values,
)
from tests.websocket.handshakes import FIELDS, Unconnected, handshake

if TYPE_CHECKING:
    from collections.abc import Mapping

SPOKEN = ("v1", "v2")
CONFIGS = [
    CompressionConfig(context_takeover=takeover, window_bits=bits)
    for takeover in (False, True)
    for bits in (9, 12, 15)
]
HANDLERS = [
    (Unconnected(WebSocketHandler(WebSocketMessageHandler(), compression=config)), config)
    for config in CONFIGS
]
UNCONNECTED = Unconnected(
    WebSocketHandler(
        WebSocketMessageHandler(), subprotocols=SPOKEN, compression=CompressionConfig()
    )
)
LISTED, ANY = (
    Unconnected(WebSocketHandler(WebSocketMessageHandler(), allowed_origins=allowed))
    for allowed in (["https://a.example"], "*")
)


def head_of(fields: Mapping[str, Lines]) -> bytes:
    """Return a handshake for the host ``a``."""
    missing = [name for name, lines in fields.items() if not lines]
    lines = (f"{name}:{value}" for name, lines in fields.items() for value in lines)
    return handshake(*lines, without=missing)


@given(fields())
def test_a_handshake_is_accepted_if_it_keeps_the_rules(fields: dict[str, Lines]) -> None:
    answer = UNCONNECTED.answer(head_of(fields))
    assert answer.status in statuses(fields)
    if answer.status == 101:
        offered = members(fields["Sec-WebSocket-Protocol"])
        agreed = [name for name in offered if name in SPOKEN][:1]
        assert answer.get_all("Sec-WebSocket-Protocol") == agreed


@pytest.mark.parametrize("name", VALID)
@given(st.data())
def test_each_field_is_read_by_its_rule(name: str, data: st.DataObject) -> None:
    lines = data.draw(all_lines(name))
    head = head_of({**VALID, name: lines})
    assert UNCONNECTED.answer(head).status in (RULES[name](lines) or {101})


@given(all_lines("Sec-WebSocket-Extensions"), st.sampled_from(HANDLERS))
def test_offers_are_answered_by_the_rules(
    lines: Lines, handler: tuple[Unconnected, CompressionConfig]
) -> None:
    unconnected, config = handler
    answer = unconnected.answer(head_of({"Sec-WebSocket-Extensions": lines}))
    assert answer.status in statuses({"Sec-WebSocket-Extensions": lines})
    if answer.status == 101:
        expected = answer_to_offers(lines, config)
        agreed = [] if expected is None else [expected]
        assert answer.get_all("Sec-WebSocket-Extensions") == agreed


hosts = st.sampled_from(["a", "A", "a:80", "a:8080", "b.a", "[::1]", "[::1]:80", "a:", "1.2"])
origins = values("Origin") | st.just("https://a.example")
authorities = hosts | st.text("aA1.:[]@/?#\\% \t\xe9,", max_size=12)


@given(st.sampled_from(["http", "HTTPS", "ws", "null", ""]), authorities, hosts)
@example("http", "a", "a:80")
@example("https", "a", "a:443")
def test_an_origin_is_allowed_if_it_is_the_hosts(scheme: str, authority: str, host: str) -> None:
    origin = f"{scheme}://{authority}".strip(" \t")  # as a field is read
    found, expected = _origin(origin), _origin(f"{scheme}://{host}")
    is_same = found is not None and found == expected
    answer = UNCONNECTED.answer(handshake(f"Origin: {origin}", f"Host: {host}"))
    assert answer.status == (101 if is_same else 403)


def _origin(text: str) -> tuple[str, str, int] | None:
    """Split an origin into scheme, host and port, in their only spelling."""
    host = r"[a-z0-9.%,]+|\[(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}\]"
    match = re.fullmatch(rf"(https?)://({host})(?::([0-9]*))?", text.lower())
    if match is None:
        return None
    port = int(match[3] or {"http": 80, "https": 443}[match[1]])
    return (match[1], match[2], port) if port <= 65535 else None


@given(origins, hosts)
def test_only_origins_are_allowed(origin: str, host: str) -> None:
    head = handshake(f"Origin: {origin}", f"Host: {host}")
    for handler in (UNCONNECTED, LISTED):
        if handler.answer(head).status == 101:
            assert re.fullmatch(r"https?://[^/?#@\\ ]+", origin.strip(" \t"), re.IGNORECASE)
    assert ANY.answer(head).status == 101


WHOLE = handshake(*(f"{name}: {value}" for name, lines in VALID.items() for value in lines))
INSERTED = (
    st.binary(min_size=1, max_size=3)
    | st.sampled_from([f"{field}\r\n".encode() for field in FIELDS])
    | st.sampled_from(sorted(VALID)).flatmap(values).map(lambda value: value.encode("latin-1"))
    | st.sampled_from([b"\r\n", b"\n", b": ", b"HTTP/1.0", b"POST", b" ", b"\t", b"http://a"])
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(WHOLE)), st.sampled_from([0, 0, 0, 1, 2, 9]), INSERTED | st.just(b"")
    ),
    max_size=4,
)


@given(EDITS)
def test_only_a_handshake_that_keeps_all_rules_is_accepted(
    edits: list[tuple[int, int, bytes]],
) -> None:
    data = WHOLE
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    data += b"\r\n\r\n"
    status = status_of(data)
    assert status in {101, 400, 403, 405, 426, 501, 505}
    if status == 101:
        check_by_hand(data[: data.index(b"\r\n\r\n")].decode("latin-1"))


def status_of(data: bytes) -> int:
    """Take the first head off the data, and return what answers it."""
    try:
        end = find_head_end(data, 0, 65536)
    except BadRequest as refused:
        return refused.status
    return UNCONNECTED.answer(data[:end]).status


def check_by_hand(head: str) -> None:
    """Check a head that was accepted."""
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", head)
    start, *lines = head.split("\r\n")
    assert re.fullmatch(r"GET (?:/|https?://)[!\"$-~]* HTTP/1\.1", start, re.IGNORECASE)
    assert start.startswith("GET ")
    found: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon
        assert re.fullmatch(TOKEN, name)
        found.setdefault(name.lower(), []).append(value)
    assert len(found["host"]) == 1
    for name, rule in RULES.items():
        values = tuple(found.get(name.lower(), ()))
        if name != "Origin" or (start[4] == "/" and found["host"][0].strip() == "a"):
            assert rule(values) == set(), (name, values)
