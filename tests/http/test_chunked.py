"""Chunked bodies by their rules: cut anywhere, damaged anywhere, and in the smallest chunks.

The rules are written down once more as regular expressions, from RFC 9112 section 7.1. These tests
run for longer with ``--hypothesis-profile=fuzz``.
"""

from __future__ import annotations

import itertools
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from handy_ws.http.body import ChunkedBody
from handy_ws.http.head import BadRequest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 400
CONTROLS = bytes({*range(0x20), 0x7F} - {ord("\t")})

_TOKEN = rb"[!#-'*+.^_`|~0-9A-Za-z-]+"
_VALUE = _TOKEN + rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _VALUE + rb"))?"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*\r\n")
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[^\x00-\x08\x0a-\x1f\x7f]*\r\n")
_FRAMING = {b"content-length", b"host", b"transfer-encoding"}


class Body(NamedTuple):
    """A body that is whole, and the bytes behind it."""

    payload: bytes
    rest: bytes


def by_the_rules(data: bytes) -> Body | None:
    """Return the body at the beginning of data, if there is one."""
    payload, at = b"", 0
    while size := _SIZE.match(data, at):
        end = size.end() + int(size[1], 16)
        if end == size.end():
            return _behind_trailers(data, end, payload)
        payload += data[size.end() : end]
        if data[end : end + 2] != b"\r\n" or len(payload) > LIMIT:
            return None
        at = end + 2
    return None


def _behind_trailers(data: bytes, at: int, payload: bytes) -> Body | None:
    while trailer := _TRAILER.match(data, at):
        if trailer[1].lower() in _FRAMING:
            return None
        at = trailer.end()
    return Body(payload, data[at + 2 :]) if data[at : at + 2] == b"\r\n" else None


def feed(data: bytes, cuts: Sequence[int] = (), limit: int = LIMIT) -> Body | int | None:
    """Return what handy_ws makes of data that come in pieces: a body, a status, or neither."""
    body = ChunkedBody(limit)
    try:
        for begin, end in itertools.pairwise(sorted({0, *cuts, len(data)})):
            rest = body.feed(data[begin:end])
            if rest is not None:
                return Body(body.open().read(), rest + data[end:])
    except BadRequest as error:
        return error.status
    else:
        return None
    finally:
        body.close()


# Bodies as a client may send them

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefXYZ"
texts = st.binary(max_size=12).map(lambda text: text.translate(None, CONTROLS))
names = st.text(TOKEN, min_size=1, max_size=10).map(str.encode)
extensions = (
    st.sampled_from([b"", b"", b" ;a", b"; a\t=\tb", b'\t; a = "b;c"', b';a="";b="\\"\\\\"'])
    | names.map(lambda name: b";" + name)
    | texts.map(lambda text: b';a="%b"' % text.translate(None, b'"\\'))
)
trailers = st.tuples(names, texts).map(lambda pair: b"%b:%b\r\n" % pair)


def chunk(data: bytes, digits: int, extension: bytes) -> bytes:
    size = (b"%X" if digits % 2 else b"%x") % len(data)
    return size.zfill(digits) + extension + b"\r\n" + data + b"\r\n" * bool(data)


digits = st.integers(1, 16)
chunks = st.tuples(st.binary(min_size=1, max_size=40), digits, extensions)


@st.composite
def wires(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a body of at most LIMIT bytes, and what it looks like on the wire."""
    drawn = draw(st.lists(chunks, max_size=10))
    wire = b"".join(itertools.starmap(chunk, drawn)) + chunk(b"", draw(digits), draw(extensions))
    wire += b"".join(draw(st.lists(trailers, max_size=2))) + b"\r\n"
    return b"".join(data for data, _, _ in drawn), wire


cuts = st.lists(st.integers(0, 600), max_size=6)
tails = st.binary(max_size=10) | st.just(b"GET / HTTP/1.1\r\n")


@given(wires(), tails, cuts)
def test_a_body_is_the_same_however_it_is_cut(
    drawn: tuple[bytes, bytes], tail: bytes, cuts: list[int]
) -> None:
    payload, wire = drawn
    data = wire + tail
    expected = Body(payload, tail)
    assert by_the_rules(data) == expected
    assert feed(data) == feed(data, range(len(data))) == expected
    assert feed(data, [cut for cut in cuts if cut < len(data)]) == expected


@given(wires())
def test_a_body_is_whole_with_its_last_byte_and_not_before(drawn: tuple[bytes, bytes]) -> None:
    _, wire = drawn
    body = ChunkedBody(LIMIT)
    for byte in wire[:-1]:
        assert body.feed(bytes([byte])) is None
    # What is behind it is given back, every byte of it.
    assert body.feed(wire[-1:] + b"next") == b"next"
    body.close()


edits = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.sampled_from([0, 0, 0, 1, 1, 2, 9]),
        st.binary(max_size=2)
        | st.sampled_from(
            [b"\r\n", b"\n", b"\r", b";", b" ", b"0", b"5\r\n", b"0\r\n\r\n", b"A: b\r\n"]
        ),
    ),
    min_size=1,
    max_size=3,
)


@given(wires(), edits, cuts)
def test_a_damaged_body_is_read_by_the_rules_or_refused(
    drawn: tuple[bytes, bytes], edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    _, data = drawn
    for at, removed, inserted in edits:
        place = at % (len(data) + 1)
        data = data[:place] + inserted + data[place + removed :]
    expected = by_the_rules(data)
    found = feed(data)
    assert (
        feed(data, range(len(data))) == feed(data, [cut % (len(data) + 1) for cut in cuts]) == found
    )
    assert found == expected if expected else found in {None, 400, 413}


# Limits


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8))
def test_the_limit_is_on_all_chunks_and_refuses_before_the_data_come(chunks: list[bytes]) -> None:
    size = len(b"".join(chunks))
    pieces = [(b"%x\r\n" % len(chunk), chunk + b"\r\n") for chunk in chunks]
    data = b"".join(b"".join(piece) for piece in pieces) + b"0\r\n\r\n"
    assert feed(data, limit=size) == Body(b"".join(chunks), b"")
    last = pieces[-1][0]
    up_to_last_size = data[: data.rindex(last + chunks[-1]) + len(last)]
    assert feed(up_to_last_size, limit=size - 1) == 413
    assert feed(up_to_last_size[:-1], limit=size - 1) is None


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (b"0\r\n" + b"A: b\r\n" * 2048 + b"\r\n", None),
        (b"0\r\n" + b"A: b\r\n" * 2049 + b"\r\n", 431),
        (b"0\r\nA:" + b"b" * 1020 + b"\r\n\r\n", None),
        (b"0\r\nA:" + b"b" * 1021 + b"\r\n\r\n", 400),
        (b"0;" + b"a" * 1020 + b"\r\n\r\n", None),
        (b"0;" + b"a" * 1021 + b"\r\n\r\n", 400),
    ],
)
def test_lines_and_trailers_have_limits(ending: bytes, status: int | None) -> None:
    data = b"1\r\nx\r\n" + ending
    expected = Body(b"x", b"") if status is None else status
    assert feed(data) == feed(data, range(len(data))) == expected


def test_a_small_body_cannot_be_made_a_very_long_one() -> None:
    line = b";" + b"x" * 1000 + b"\r\n"
    few = b"".join(b"1" + line + b"y\r\n" for _ in range(16)) + b"0\r\n\r\n"
    assert feed(few) == Body(b"y" * 16, b"")
    assert feed((b"1" + line + b"y\r\n") * 17) == 400
    # Extensions are welcome beside data.
    much = b"".join(b"800" + line + b"y" * 2048 + b"\r\n" for _ in range(200)) + b"0\r\n\r\n"
    assert feed(much, limit=1 << 20) == Body(b"y" * 2048 * 200, b"")


# Time: the limit is on the thread's own CPU time, and ten times what it takes. If all that is left
# were copied for every chunk, it would be four times the limit.

SECONDS = 3.0


@pytest.mark.parametrize(
    ("piece", "count"), [(1, 30_000), (7, 50_000), (8 * 1024, 200_000), (1 << 30, 200_000)]
)
def test_chunks_of_one_byte_are_read_in_linear_time(piece: int, count: int) -> None:
    data = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    body = ChunkedBody(count)
    start = time.thread_time()
    rests = [body.feed(piece) for piece in pieces]
    assert time.thread_time() - start < SECONDS
    assert rests == [None] * (len(pieces) - 1) + [b""]
    assert body.open().read() == b"x" * count
    body.close()
