"""Whole requests that hypothesis damages or puts together: handy_ws reads them as h11 does.

The random streams of this folder know what others have stumbled over; these look for the rest, and
make what they find as short as it can be. They run for longer with ``--hypothesis-profile=fuzz``.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.http.differential.compare import opinions
from tests.http.differential.streams import Stream, generate

_FIRST = (generate(1, index) for index in range(500))
SAMPLES = [
    stream.data for stream in _FIRST if stream.intended is not None and 40 < len(stream.data) < 400
]

SEPARATORS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b"]
)
WORDS = st.sampled_from(
    b"""
    GET POST OPTIONS / * http://a/b HTTP/1.1 HTTP/1.0 HTTP/2.0 Host a Content-Length 5 0
    Transfer-Encoding chunked hello Connection close keep-alive Expect 100-continue Upgrade
    """.split()
)
LINES = st.sampled_from(
    [
        b"Host: a\r\n",
        b"A: b\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nA: b\r\n",
    ]
)
INSERTED = st.binary(max_size=3) | SEPARATORS | WORDS | LINES
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([0, 0, 0, 1, 1, 2, 9]), INSERTED), max_size=5
)
CUTS = st.lists(st.integers(0, 400), max_size=5)


def check(data: bytes, cuts: list[int]) -> None:
    inside = tuple(sorted({cut for cut in cuts if cut < len(data)}))
    assert opinions(Stream(0, 0, data, inside)).complaints() == []


def test_there_are_samples() -> None:
    assert len(SAMPLES) > 50


@given(st.sampled_from(SAMPLES), EDITS, CUTS)
def test_damaged_requests(
    data: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    for at, removed, inserted in edits:
        place = at % (len(data) + 1)
        data = data[:place] + inserted + data[place + removed :]
    check(data, cuts)


@given(st.lists(WORDS | SEPARATORS | LINES, max_size=25).map(b"".join), CUTS)
def test_requests_that_are_put_together_of_pieces(data: bytes, cuts: list[int]) -> None:
    check(data, cuts)


NAMES = st.sampled_from([b"Host", b"content-length", b"Transfer-Encoding", b"Connection", b"A"])
COLONS = st.sampled_from([b":", b": ", b":\t", b" :", b""])
VALUES = WORDS | st.binary(max_size=4)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
FIELDS = st.lists(st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join), max_size=5)
STARTS = st.tuples(
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"G"]),
    st.sampled_from([b" "] * 6 + [b"  ", b"\t"]),
    st.sampled_from([b"/", b"*", b"http://a", b"a:1", b"/#"]),
    st.sampled_from([b" HTTP/1.1"] * 4 + [b" HTTP/1.0", b" HTTP/1.2", b""]),
    ENDS,
)


@given(STARTS.map(b"".join), FIELDS, ENDS, st.lists(LINES | VALUES, max_size=4), CUTS)
def test_requests_that_are_nearly_well_formed(
    start: bytes, fields: list[bytes], end: bytes, body: list[bytes], cuts: list[int]
) -> None:
    for host in (b"", b"Host: a\r\n"):
        check(start + host + b"".join(fields) + end + b"".join(body), cuts)
