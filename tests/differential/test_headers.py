"""The judge of headers, with a table and with what it must hold to for every stream."""

from __future__ import annotations

import pytest

from tests.differential.agreements import AGREEMENTS
from tests.differential.headers import Kind, Violation, head, judge
from tests.differential.streams import generate
from tests.websocket.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

LIMIT = 200
BEGUN = frame(TEXT, b"begun", fin=False)
N = len(BEGUN)


@pytest.mark.parametrize(
    ("data", "start", "end", "kind"),
    [
        (b"\xc1", 0, 1, Kind.RESERVED_BITS),
        (b"\xa1", 0, 1, Kind.RESERVED_BITS),
        (b"\x91", 0, 1, Kind.RESERVED_BITS),
        (b"\xf3", 0, 1, Kind.RESERVED_BITS),
        (b"\x83", 0, 1, Kind.OPCODE),
        (b"\x0b", 0, 1, Kind.OPCODE),
        (b"\x09", 0, 1, Kind.FRAGMENTED_CONTROL),
        (b"\x80", 0, 1, Kind.ORDER),
        (BEGUN + b"\x81", N, N + 1, Kind.ORDER),
        (BEGUN + frame(PING) + b"\x02", N + 6, N + 7, Kind.ORDER),
        (BEGUN + frame(CONTINUATION) + b"\x00", N + 6, N + 7, Kind.ORDER),
        (b"\x81\x00", 0, 2, Kind.NOT_MASKED),
        (b"\x89\x7e", 0, 2, Kind.NOT_MASKED),
        (b"\x89\xfe", 0, 2, Kind.CONTROL_LENGTH),
        (b"\x88\xff", 0, 2, Kind.CONTROL_LENGTH),
        (b"\x81\xfe\x00\x7d", 0, 4, Kind.NOT_MINIMAL),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", 0, 10, Kind.NOT_MINIMAL),
        (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", 0, 10, Kind.SIGN_BIT),
        (b"\x82\xfe\x00\xc9", 0, 4, Kind.TOO_BIG),
        (BEGUN + b"\x00\xfe\x00\xc4", N, N + 4, Kind.TOO_BIG),
    ],
)
def test_what_is_wrong_and_where(data: bytes, start: int, end: int, kind: Kind) -> None:
    violation = Violation(start, end, kind)
    for behind in (b"", b"\xff" * 20):
        assert judge(data + behind, LIMIT, deflate=False).violation == violation
    assert judge(data[:-1], LIMIT, deflate=False).violation is None
    assert violation.code == (1009 if kind is Kind.TOO_BIG else 1002)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x" * LIMIT),
        BEGUN + frame(PING, b"x" * 125) + frame(CONTINUATION, b"x" * (LIMIT - 5)),
        frame(BINARY) + BEGUN + frame(CLOSE) + b"whatever",
    ],
)
def test_right_headers(data: bytes) -> None:
    judgement = judge(data, LIMIT, deflate=False)
    assert judgement.violation is None
    assert judgement.headers
    assert b"".join(header.unmasked(data) for header in judgement.headers).strip(b"x") in (
        b"",
        b"begun",
    )


def test_rsv1_begins_a_compressed_message_where_that_is_agreed_on() -> None:
    for first, right in [(0xC1, True), (0x42, True), (0xC9, False), (0xE1, False)]:
        data = head(first, 0, bytes(4))
        judgement = judge(data, LIMIT, deflate=True)
        assert (judgement.violation is None) == right, hex(first)
        assert all(header.compressed for header in judgement.headers)
    more = head(0x41, 0, bytes(4)) + head(0x40, 0, bytes(4))
    assert judge(more, LIMIT, deflate=True).violation == Violation(6, 7, Kind.RESERVED_BITS)


def test_compressed_bytes_may_be_a_little_more_than_the_limit() -> None:
    for first, most in [(0xC2, LIMIT + LIMIT // 8 + 1024), (0x82, LIMIT)]:
        assert judge(head(first, most, bytes(4)), LIMIT, deflate=True).violation is None
        too_big = judge(head(first, most + 1, bytes(4)), LIMIT, deflate=True).violation
        assert too_big == Violation(0, 4, Kind.TOO_BIG)


def test_a_prefix_is_judged_the_same_up_to_its_end() -> None:
    violations = 0
    for index in range(300):
        stream = generate(9, index, AGREEMENTS)
        deflate = stream.agreement.deflate is not None
        data = stream.data[:2000]
        whole = judge(data, stream.limit, deflate=deflate)
        violations += whole.violation is not None
        for length in {*range(0, len(data), 7), *range(max(0, len(data) - 20), len(data))}:
            part = judge(data[:length], stream.limit, deflate=deflate)
            assert part.headers == whole.headers[: len(part.headers)]
            is_there = whole.violation is not None and whole.violation.end <= length
            assert part.violation == (whole.violation if is_there else None)
    assert violations > 50
