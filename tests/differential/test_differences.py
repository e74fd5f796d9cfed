"""Each listed difference is real: a stream on which a reference alone is not to be followed.

If one of these fails with a newer version of a reference, that has got better: the entry can go.
"""

from __future__ import annotations

import dataclasses
import random
import zlib

import pytest

from tests.differential.agreements import COMPRESSED, UNCOMPRESSED, Agreement
from tests.differential.case import MOST_GATHERED
from tests.differential.compressor import TAIL
from tests.differential.differences import REFERENCES, Reference
from tests.differential.outcome import Close, Outcome, agree
from tests.differential.server import running
from tests.differential.streams import LARGE_LIMIT, SMALL_LIMIT, Stream
from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    close_payload,
    frame,
)

PLAIN = UNCOMPRESSED[0]
ALONE, TAKEOVER = COMPRESSED[0], COMPRESSED[1]
SMALL = next(
    agreement for agreement in COMPRESSED if "client_max_window_bits=9" in agreement.answer
)


def deflate(payload: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    return compressed(zlib.compressobj(wbits=-15), payload, mode)


def compressed(compressor: zlib._Compress, payload: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    return (compressor.compress(payload) + compressor.flush(mode)).removesuffix(TAIL)


def with_takeover(*payloads: bytes) -> bytes:
    """Return messages that refer to those before them."""
    compressor = zlib.compressobj(wbits=-15)
    return b"".join(message(compressed(compressor, payload)) for payload in payloads)


def message(wire: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """Return the first frame of a compressed message."""
    return frame(opcode, wire, rsv=4, fin=fin)


def rest(wire: bytes) -> bytes:
    return frame(CONTINUATION, wire)


def text(*payloads: bytes, pongs: tuple[bytes, ...] = (), close: int | None = None) -> Outcome:
    messages = tuple(("text", payload) for payload in payloads)
    return Outcome(messages, pongs, None if close is None else Close(close))


def binary(*payloads: bytes, pongs: tuple[bytes, ...] = (), close: int | None = None) -> Outcome:
    messages = tuple(("binary", payload) for payload in payloads)
    return Outcome(messages, pongs, None if close is None else Close(close))


HELLO = deflate(b"Hello")
LAST = deflate(b"Hello", mode=zlib.Z_FINISH)
STORED = b"\x00\x09\x00\xf6\xff"  # a block that promises nine bytes
INSIDE = b"\x02"  # a block that has just begun
# One that was cut inside of its Huffman codes. Even an empty final block behind it is no error.
IN_CODES = bytes.fromhex("04c1010100200804b1")
BEGUN = frame(TEXT, b"begun", fin=False)
NOISE = random.Random(7).randbytes(700)
LONG_NOISE = random.Random(7).randbytes(SMALL_LIMIT)
BOMB = deflate(bytes(3 * SMALL_LIMIT)) + b"no DEFLATE"
ONE_TOO_MANY = deflate(bytes(SMALL_LIMIT + 1)) + b"no DEFLATE"

BOTH: dict[str, list[tuple[Agreement, bytes, Outcome]]] = {
    "a surrogate in UTF-8 is judged by its third byte": [
        (PLAIN, frame(TEXT, b"\xed\xa0", fin=False), text(close=1007)),
    ],
    "a compressed message is judged before its end is there": [
        (ALONE, message(b"\xff", fin=False) + frame(PING), binary(pongs=(b"",))),
        (ALONE, message(deflate(b"\xff"), TEXT, fin=False) + b"\x83", text(close=1002)),
    ],
    "what is behind a final block is thrown away": [
        (ALONE, message(LAST + HELLO), binary(b"HelloHello")),
        (TAKEOVER, message(LAST) + message(HELLO), binary(b"Hello", b"Hello")),
        (TAKEOVER, message(LAST + b"\x00") + message(HELLO), binary(b"Hello", b"Hello")),
    ],
    "a reference beyond the agreed window is refused, if zlib happens to notice": [
        (SMALL, with_takeover(NOISE, NOISE[:50]), binary(NOISE, NOISE[:50])),
    ],
    "a compressed message of no bytes is cut short": [
        (TAKEOVER, message(b"") + message(HELLO), binary(b"", b"Hello")),
    ],
    "what the receiver adds may be data": [
        (ALONE, message(STORED), binary(close=1007)),
        (TAKEOVER, message(HELLO) + message(STORED), binary(b"Hello", close=1007)),
    ],
    "a message may end inside of a block": [
        (ALONE, message(HELLO) + message(INSIDE), binary(b"Hello", close=1007)),
        (ALONE, message(HELLO) + message(IN_CODES), binary(b"Hello", close=1007)),
    ],
}

WSPROTO_ALONE: dict[str, list[tuple[Agreement, bytes, Outcome]]] = {
    "a wrong header is judged when its length is there": [
        (PLAIN, frame(TEXT, b"a") + b"\x83", text(b"a", close=1002)),
        (PLAIN, b"\xc1\xff\x00", text(close=1002)),
        (PLAIN, b"\x01\x7e\x00", text(close=1002)),
    ],
    "the order of frames is judged with the first byte of their payload": [
        (PLAIN, frame(CONTINUATION, b"a")[:-1], text(close=1002)),
        (PLAIN, BEGUN + frame(TEXT, b"a")[:2], text(close=1002)),
    ],
    "messages have no limit": [
        (PLAIN, frame(BINARY, bytes(SMALL_LIMIT + 1))[:10], binary(close=1009)),
        (PLAIN, BEGUN + frame(CONTINUATION, bytes(SMALL_LIMIT))[:10], binary(close=1009)),
    ],
    "1014 is refused": [
        (PLAIN, frame(CLOSE, close_payload(1014, "bad")), Outcome(close=Close(1014, b"bad"))),
    ],
    "a control frame makes it forget that the open message is compressed": [
        (
            TAKEOVER,
            message(HELLO[:3], fin=False) + frame(PING) + rest(HELLO[3:]),
            binary(b"Hello", pongs=(b"",)),
        ),
    ],
    "all of a frame is inflated, however much that is": [
        (ALONE, message(BOMB), binary(close=1009)),
        (TAKEOVER, message(BOMB), binary(close=1009)),
        (ALONE, message(ONE_TOO_MANY), binary(close=1009)),
    ],
}

WEBSOCKETS_ALONE: dict[str, list[tuple[Agreement, bytes, Outcome]]] = {
    "a wrong header is judged when the frame is whole": [
        (PLAIN, frame(TEXT, b"a") + b"\xf1", text(b"a", close=1002)),
        (PLAIN, b"\x82\xfe\x00\x01" + bytes(5), text(close=1002)),
        (PLAIN, b"\x82\xff\x80" + bytes(11), text(close=1002)),
    ],
    "the reason of a CLOSE frame is judged before its code": [
        (PLAIN, frame(CLOSE, b"\x03\xed\xff"), text(close=1002)),
    ],
    "no CLOSE frame may come between fragments": [
        (PLAIN, BEGUN + frame(CLOSE), Outcome(close=Close(1005, b""))),
        (PLAIN, BEGUN + frame(CLOSE, b"\x03\xe8bye"), Outcome(close=Close(1000, b"bye"))),
    ],
    "a payload is judged when the frame is whole": [
        (PLAIN, frame(TEXT, b"\xff" * 5)[:-2], text(close=1007)),
        (TAKEOVER, message(b"\xff" * 5)[:-2], text(close=1007)),
    ],
    "the limit counts what is compressed, and control frames inside of a message": [
        (
            PLAIN,
            frame(BINARY, bytes(SMALL_LIMIT), fin=False) + frame(PING, b"a") + rest(b""),
            binary(bytes(SMALL_LIMIT), pongs=(b"a",)),
        ),
        (ALONE, message(deflate(LONG_NOISE)), binary(LONG_NOISE)),
    ],
    "bad DEFLATE is a protocol error": [
        (TAKEOVER, message(b"\xff"), binary(close=1007)),
    ],
}

EXAMPLES = {
    **{(reference.name, name): cases for reference in REFERENCES for name, cases in BOTH.items()},
    **{("wsproto", name): cases for name, cases in WSPROTO_ALONE.items()},
    **{("websockets", name): cases for name, cases in WEBSOCKETS_ALONE.items()},
}
CASES = [
    pytest.param(name, *case, id=f"{name[0]}: {name[1]} {number}")
    for name, cases in EXAMPLES.items()
    for number, case in enumerate(cases)
]


def as_stream(agreement: Agreement, data: bytes) -> Stream:
    return Stream(0, 0, agreement, SMALL_LIMIT, data, (0,), frozenset(), None)


@pytest.mark.parametrize(("name", "agreement", "data", "expected"), CASES)
def test_a_reference_is_corrected(
    name: tuple[str, str], agreement: Agreement, data: bytes, expected: Outcome
) -> None:
    (reference,) = (reference for reference in REFERENCES if reference.name == name[0])
    stream = as_stream(agreement, data)
    assert not agree(reference.ask(stream), expected)
    outcome, used = reference.expect(stream)
    assert outcome == expected
    assert ": ".join(name) in used


def test_handy_ws_does_what_is_expected() -> None:
    with running() as servers:
        for cases in EXAMPLES.values():
            for agreement, data, expected in cases:
                ours = servers.play(as_stream(agreement, data))
                assert agree(ours, expected), (agreement, data)


def test_every_entry_has_an_example() -> None:
    listed = [
        (reference.name, entry.name) for reference in REFERENCES for entry in reference.differences
    ]
    assert sorted(listed) == sorted(EXAMPLES)


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_the_names_in_a_report_are_unique_and_have_a_reason(reference: Reference) -> None:
    assert len({entry.name for entry in reference.differences}) == len(reference.differences)
    assert all(len(entry.reason) > 20 for entry in reference.differences)


def test_what_has_become_long_is_judged_although_it_has_no_end() -> None:
    wrong = b"\xff" + bytes(MOST_GATHERED)
    for length, close in [(MOST_GATHERED, None), (MOST_GATHERED + 1, Close(1007))]:
        data = message(wrong[:length], fin=False) + frame(PING, b"a")
        stream = dataclasses.replace(as_stream(ALONE, data), limit=LARGE_LIMIT)
        outcome = Outcome(pongs=(b"a",) if close is None else (), close=close)
        assert [reference.expect(stream)[0] for reference in REFERENCES] == [outcome, outcome]
        with running() as servers:
            assert agree(servers.play(stream), outcome)


def test_of_bad_text_and_too_much_of_it_the_first_counts() -> None:
    too_long = deflate(b"\xff" + bytes(SMALL_LIMIT))
    for agreement in (ALONE, TAKEOVER):
        stream = as_stream(agreement, message(too_long, TEXT))
        expected = Outcome(close=Close(1007))
        assert [reference.expect(stream)[0] for reference in REFERENCES] == [expected] * 2
        for code in (1002, 1009):
            assert not agree(Outcome(close=Close(code, b"")), expected)
