"""Payloads of random messages: short, of the sizes where encodings change, and seldom long."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

# Where the encoding of a code point, or what is allowed, changes.
_EDGES = "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
_MIXED = "aä€😀 \n" + _EDGES

_LONG = 5000  # bytes; what is longer repeats as a whole

_BAD_UTF8 = [
    b"\x80",  # a continuation byte alone
    b"\xbf",
    b"\xc0\x80",  # overlong
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80",  # surrogates
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",  # beyond the last code point
    b"\xf5",
    b"\xff",
    b"\xc3",  # cut short, if nothing fits behind it
    b"\xe2\x82",
    b"\xf0\x9f\x98",
]

_VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
_VALID_CODES += [3000, 3999, 4000, 4999]
_BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535]


def size(rng: random.Random, limit: int) -> int:
    """Return the size of a payload within the limit."""
    kind = rng.random()
    if kind < 0.6:
        return rng.randrange(40)
    if kind < 0.9:
        return rng.choice((0, 1, 2, 124, 125, 126, 127, 128))
    if kind < 0.99:
        return rng.randrange(130, min(3000, limit))
    if limit < 1 << 17:
        return rng.choice((limit - 1, limit))
    return rng.choice((65_535, 65_536)) if rng.random() < 0.3 else 5000


def text(rng: random.Random, length: int) -> bytes:
    """Return UTF-8 of exactly this length."""
    if rng.random() < 0.3:
        return _repeated(rng, bytes(rng.choices(range(0x20, 0x7F), k=min(length, 64))), length)
    # A code point has at most four bytes; what is missing is filled up.
    some = "".join(rng.choices(_MIXED, k=min(length, 64) // 4)).encode()
    return some * (length // len(some) if some else 0) + b"." * (
        length % len(some) if some else length
    )


def binary(rng: random.Random, length: int) -> bytes:
    """Return bytes that compress well, or not at all."""
    kind = rng.random()
    if kind < 0.4:
        return rng.randbytes(length)
    if kind < 0.8:
        return _repeated(rng, rng.randbytes(min(length, 40)), length)
    return bytes([rng.randrange(256)]) * length


def _repeated(rng: random.Random, piece: bytes, length: int) -> bytes:
    """Return so many bytes: a piece, and again parts of it."""
    out = bytearray(piece)
    while len(out) < min(length, _LONG):
        start = rng.randrange(len(piece))
        out += out[start : start + rng.randint(3, 300)]
    out *= length // len(out) + 1 if out else 0
    return bytes(out[:length])


def spoiled_text(rng: random.Random, payload: bytes) -> bytes:
    """Return a text with something in it that is not UTF-8, more often than not."""
    at = rng.randint(0, len(payload))
    return payload[:at] + rng.choice(_BAD_UTF8) + payload[at:]


def close(rng: random.Random) -> bytes:
    """Return the body of a valid CLOSE frame."""
    if rng.random() < 0.2:
        return b""
    reason = text(rng, rng.choice((0, 0, 1, 10, 122, 123)))
    return struct.pack("!H", rng.choice(_VALID_CODES)) + reason


def bad_close(rng: random.Random) -> bytes:
    """Return the body of a CLOSE frame that is wrong in one way, or in two."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(1)
    codes = _BAD_CODES if kind != 1 else _VALID_CODES
    reason = spoiled_text(rng, b"reason") if kind != 2 else b"reason"
    return struct.pack("!H", rng.choice(codes)) + reason
