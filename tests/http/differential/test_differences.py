"""Each listed difference is real: a request that h11 takes and handy_ws refuses.

If one of these fails with a newer version of h11, that has got stricter: the entry can go.
"""

from __future__ import annotations

import pytest

from tests.http.differential import limits
from tests.http.differential.differences import CORRECTIONS, DIFFERENCES
from tests.http.differential.expect import expect
from tests.http.differential.ours import read
from tests.http.differential.outcome import End, Outcome
from tests.http.differential.reference import read_request


def head(*fields: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"a") -> bytes:
    lines = [start, *([b"Host: " + host] if host else []), *fields, b"", b""]
    return b"\r\n".join(lines)


def chunked(*pieces: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1") + b"".join(pieces)


def length(value: bytes) -> bytes:
    return head(b"Content-Length: " + value, start=b"POST / HTTP/1.1")


END = b"0\r\n\r\n"
LONG = b"x" * 1000

# Requests that h11 takes.
STRICTER: dict[str, list[tuple[bytes, int]]] = {
    "a line of the head ends with LF alone": [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ],
    "a control character in the head": [
        (head(b"A: \x01"), 400),
        (head(b"A: b\x1cc"), 400),
        (head(b"A: \x7f"), 400),
    ],
    "a folded line": [
        (head(b"A: b", b" c"), 400),
        (head(b"A: b", b"\t"), 400),
        (head(b"A:", b" Host: b"), 400),
    ],
    "another version than HTTP/1.1 and HTTP/1.0": [
        (head(start=b"GET / HTTP/1.2"), 505),
        (head(start=b"GET / HTTP/2.0"), 505),
        (head(start=b"GET / HTTP/0.9", host=b""), 505),
    ],
    "an unknown method": [
        (head(start=b"FANCY / HTTP/1.1"), 501),
        (head(start=b"get / HTTP/1.1"), 501),
        (head(start=b"CONNECT a:80 HTTP/1.1"), 501),
        (head(start=b"CONNECT / HTTP/1.1"), 501),
    ],
    "a target of another form": [
        (head(start=b"GET a HTTP/1.1"), 400),
        (head(start=b"GET * HTTP/1.1"), 400),
        (head(start=b"GET /#a HTTP/1.1"), 400),
        (head(start=b"GET ftp://a/ HTTP/1.1"), 400),
    ],
    "a Host that is none": [
        (head(host=b"a b"), 400),
        (head(b"Host:", host=b""), 400),
        (head(host=b"u@a", start=b"GET / HTTP/1.0"), 400),
        (head(host=b"[:::1]"), 400),
        (head(host=b"a:65536"), 400),
    ],
    "a host in the target that is none": [
        (head(start=b"GET http:/// HTTP/1.1"), 400),
        (head(start=b"GET http://u@a/ HTTP/1.1"), 400),
        (head(start=b"GET http://u@a/ HTTP/1.0", host=b""), 400),
    ],
    "a field twice that frames the message or its WebSocket": [
        (head(b"Content-Length: 0", b"Content-Length: 0"), 400),
        (head(b"Sec-WebSocket-Key: a", b"Sec-WebSocket-Key: a"), 400),
        (head(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"), 400),
    ],
    "a list of equal lengths": [(length(b"1, 1") + b"x", 400)],
    "Content-Length beside Transfer-Encoding": [
        (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + END, 400),
    ],
    "Transfer-Encoding in HTTP/1.0": [
        (head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0") + END, 400),
    ],
    "an expectation that is not 100-continue": [
        (head(b"Expect: x"), 417),
        (head(b"Expect: 100-continue, x"), 417),
    ],
    "an expectation without a body": [(head(b"Expect: 100-continue"), 411)],
    "a control character in the line with the size of a chunk": [
        (chunked(b"1;\rx\r\nx\r\n", END), 400),
        (chunked(b"1;\x00\r\nx\r\n", END), 400),
        (chunked(b"0;\x7f\r\n\r\n"), 400),
    ],
    "malformed extensions of a chunk": [
        (chunked(b"1;\r\nx\r\n", END), 400),
        (chunked(b"1 \r\nx\r\n", END), 400),
        (chunked(b"1;a \r\nx\r\n", END), 400),
        (chunked(b'1;a="\r\nx\r\n', END), 400),
        (chunked(b"0;\xe4\r\n\r\n"), 400),
    ],
    "a size of many digits": [
        (chunked(b"0" * 16 + b"1\r\nx\r\n", END), 400),
        (chunked(b"0" * 17, b"\r\n\r\n"), 400),
    ],
    "a malformed trailer section": [
        (chunked(b"0\r\nA: b\n\r\n"), 400),
        (chunked(b"0\r\nA: b\r\n c\r\n\r\n"), 400),
        (chunked(b"0\r\nA: \x01\r\n\r\n"), 400),
        (chunked(b"0\r\n\n"), 400),
    ],
    "a trailer that frames the message": [
        (chunked(b"0\r\nContent-Length: 5\r\n\r\n"), 400),
        (chunked(b"0\r\nTRANSFER-ENCODING: chunked\r\n\r\n"), 400),
        (chunked(b"0\r\nhost: b\r\n\r\n"), 400),
    ],
    "too long a head": [
        (head(b"A: " + LONG, b"B: " + LONG), 431),
        (head(start=b"GET /" + LONG + LONG + b" HTTP/1.1"), 414),
    ],
    "too many fields": [(head(*[b"A: b"] * limits.MAX_HEADER_COUNT), 431)],
    "too long a body": [
        (length(b"3001") + bytes(3001), 413),
        (chunked(b"bb9\r\n", bytes(3001), b"\r\n", END), 413),
        (chunked(*[b"3e8\r\n" + LONG + b"\r\n"] * 4, END), 413),
    ],
    "too long a line in a chunked body": [
        (chunked(b"1;" + LONG + b"y" * 21 + b"\r\nx\r\n", END), 400),
        (chunked(b"0\r\nA: " + LONG + b"y" * 20 + b"\r\n\r\n"), 400),
    ],
    "more extensions than data": [(chunked(*[b"1;" + LONG + b"\r\nx\r\n"] * 17, END), 400)],
    "too long a trailer section": [
        (chunked(b"0\r\n", *[b"A: " + LONG + b"\r\n"] * 9, b"\r\n"), 431),
    ],
}
# h11 waits for more before it says so; handy_ws does not.
EARLIER: dict[str, list[bytes]] = {"what cannot begin a request": [b"(", b"\x80", b"{a"]}

CASES = [(name, *case) for name, cases in STRICTER.items() for case in cases]


@pytest.mark.parametrize(("name", "data", "status"), CASES)
def test_h11_takes_it_and_handy_ws_refuses_it(name: str, data: bytes, status: int) -> None:
    behind = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
    for whole in (data, data + behind):
        assert read_request(whole).request is not None
        expected, used = expect(whole)
        assert name in used
        outcome = read(whole)
        assert outcome == Outcome((), End.REFUSED, status)
        assert expected.allows(outcome)
        assert expected.allows(read(whole, range(len(whole))))
        assert not expected.allows(Outcome((), End.COMPLETE))


@pytest.mark.parametrize("data", [data for cases in EARLIER.values() for data in cases])
def test_handy_ws_refuses_it_while_h11_still_waits(data: bytes) -> None:
    assert read_request(data) == read_request(b"")
    expected, _ = expect(data)
    assert read(data) == Outcome((), End.REFUSED, 400)
    assert expected.allows(read(data))
    assert expected.allows(Outcome((), End.INCOMPLETE))


def test_every_entry_has_an_example() -> None:
    assert {difference.name for difference in DIFFERENCES} == {*STRICTER, *EARLIER}
    for entry in (*DIFFERENCES, *CORRECTIONS):
        assert len(entry.reason) > 10


GET = head(start=b"GET /1 HTTP/1.1")
OLD = head(b"Connection: keep-alive", start=b"GET /1 HTTP/1.0")

# What h11 makes something else of, and the requests that it must be, by their hosts and bodies.
CORRECTED: dict[str, list[tuple[bytes, list[tuple[bytes, bytes]]]]] = {
    "empty lines before a request are no request": [
        (b"\r\n" + GET, [(b"a", b"")]),
        (GET + b"\r\n\r\n" + GET, [(b"a", b"")] * 2),
        (b"\r\n\r\n", []),
    ],
    "the host of the target takes the place of Host": [
        (head(start=b"GET http://b:80/ HTTP/1.1"), [(b"b:80", b"")]),
        (head(start=b"GET http://b HTTP/1.0", host=b""), [(b"b", b"")]),
    ],
    "white space may stand between the size of a chunk and its extensions": [
        (chunked(b"1 ;a\r\nx\r\n2\t \t;a=b\r\n1 \r\n", END), [(b"a", b"x1 ")]),
        (chunked(b"1\r\nx\r\n0 ;a\r\n\r\n"), [(b"a", b"x")]),
    ],
    "an HTTP/1.0 client may ask to be kept": [(OLD + GET, [(b"a", b"")] * 2)],
}


@pytest.mark.parametrize(
    ("name", "data", "requests"),
    [(name, *case) for name, cases in CORRECTED.items() for case in cases],
)
def test_h11_is_corrected(name: str, data: bytes, requests: list[tuple[bytes, bytes]]) -> None:
    expected, used = expect(data)
    assert name in used
    found = [(dict(each.fields)[b"host"], each.body) for each in expected.requests]
    assert found == requests
    assert read(data) == Outcome(expected.requests, next(iter(expected.ends)))


def test_every_correction_has_an_example() -> None:
    assert [correction.name for correction in CORRECTIONS] == list(CORRECTED)


def test_without_the_corrections_h11_says_something_else() -> None:
    assert read_request(b"\r\n" + GET).error
    absolute = read_request(head(start=b"GET http://b:80/ HTTP/1.1")).request
    assert absolute is not None
    assert dict(absolute.fields)[b"host"] == b"a"
    assert read_request(chunked(b"1 ;a\r\nx\r\n", END)).error
