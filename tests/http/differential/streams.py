"""Random streams of bytes as a client may send them on one connection, valid and damaged.

A stream is a function of a seed and an index, so any one can be made again. Nearly half are valid
from the first byte to the last, and know what must come of them. The others have requests that are
wrong on purpose (`spoils.py`), or bytes that are flipped, lost, inserted or doubled anywhere, or
both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from tests.http.differential.drafts import Draft, draft
from tests.http.differential.outcome import End, Outcome, Request
from tests.http.differential.spoils import spoil

# What is inserted is often something that means something.
_MEANINGFUL: Final = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"0", b"\0", b"\x0b",
    b"\x0c", b"\x1c", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff", b"#", b"%", b"_", b"\r\n ",
    b"0\r\n\r\n", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"\r\nHost: b",
    b"HTTP/1.1", b"+",
)  # fmt: skip
# Where it hurts: line ends, separators, and what is before and behind them.
_PLACES: Final = (
    b"\r\n",
    b"\r\n\r\n",
    b":",
    b" ",
    b"Content-Length",
    b"ransfer-Encoding",
    b"HTTP/",
)


@dataclass(frozen=True, slots=True)
class Stream:
    """The bytes, and all that one has to know to send and to judge them."""

    seed: int
    index: int
    data: bytes
    cuts: tuple[int, ...]  # where `data` is cut into pieces
    features: frozenset[str] = frozenset()  # what is in it, for statistics
    intended: Outcome | None = None  # what must come of it, if it is valid

    def describe(self) -> str:
        """Return it for people, with all its bytes."""
        return (
            f"stream {self.index} of seed {self.seed}: cuts {self.cuts},"
            f" with {', '.join(sorted(self.features))}\n  {self.data!r}"
        )


def generate(seed: int, index: int) -> Stream:
    """Return the stream with this number."""
    rng = random.Random(f"{seed}/{index}")
    quality = rng.random()
    script = _Script(rng, 0.5 if 0.33 < quality < 0.83 else 0.0)
    script.write()
    data = bytes(script.out)
    if quality > 0.7:
        data = _damage(rng, data, script.features)
    is_valid = not any(name.startswith(("bad", "damage")) for name in script.features)
    return Stream(
        seed,
        index,
        data,
        _cuts(rng, len(data)),
        frozenset(script.features),
        script.intended() if is_valid else None,
    )


def _cuts(rng: random.Random, length: int) -> tuple[int, ...]:
    if length < 250 and rng.random() < 0.2:
        return tuple(range(1, length))
    return tuple(sorted({rng.randint(0, length) for _ in range(rng.randint(1, 6))}))


def _damage(rng: random.Random, data: bytes, features: set[str]) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        at = _place(rng, data)
        kind = rng.choice(("flip", "replace", "remove", "insert", "insert", "double", "cut"))
        features.add(f"damage: {kind}")
        length = rng.choice((1, 1, 2, 5, 30))
        match kind:
            case "flip":
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case "replace":
                data = data[:at] + _some_bytes(rng, length) + data[at + length :]
            case "remove":
                data = data[:at] + data[at + length :]
            case "insert":
                data = data[:at] + _some_bytes(rng, length) + data[at:]
            case "double":
                data = data[:at] + data[at : at + length] + data[at:]
            case _:
                data = data[:at]
    return data


def _place(rng: random.Random, data: bytes) -> int:
    at = rng.randrange(len(data))
    if rng.random() < 0.5:
        found = data.find(rng.choice(_PLACES), at)
        at = (
            min(max(0, found + rng.choice((-1, 0, 0, 1, 2, 4))), len(data) - 1)
            if found >= 0
            else at
        )
    return at


def _some_bytes(rng: random.Random, length: int) -> bytes:
    return rng.choice(_MEANINGFUL) if rng.random() < 0.7 else rng.randbytes(length)


class _Script:
    """Writes one stream."""

    def __init__(self, rng: random.Random, how_often: float) -> None:
        self.out = bytearray()
        self.features: set[str] = set()
        self._rng = rng
        self._spoil = how_often
        self._requests: list[Request] = []
        self._end = End.COMPLETE

    def intended(self) -> Outcome:
        """Return what the requests mean, if nothing is wrong with any of them."""
        return Outcome(tuple(self._requests), self._end)

    def write(self) -> None:
        rng = self._rng
        count = rng.choice((1, 1, 1, 2, 2, 3, 5))
        if count > 1:
            self.features.add("pipelined")
        for _ in range(count):
            self._empty_lines()
            made, request, persists = draft(rng, self.features)
            if rng.random() < self._spoil:
                self._spoil_it(made)
            self.out += made.wire()
            if self._end is End.CLOSED:
                self.features.add("behind the last request")
                continue
            self._requests.append(request)
            if not persists:
                self._end = End.CLOSED
        if rng.random() < 0.1:
            self._begin_another()

    def _empty_lines(self) -> None:
        if self._rng.random() < 0.1:
            self.features.add("empty lines")
            self.out += b"\r\n" * self._rng.choice((1, 1, 2, 5))

    def _spoil_it(self, made: Draft) -> None:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 1, 2))):
            self.features.add(f"bad: {spoil(rng, made)}")

    def _begin_another(self) -> None:
        """Write a request that is cut short somewhere."""
        rng = self._rng
        self.features.add("cut short")
        made, _, _ = draft(rng, self.features)
        wire = made.wire()
        self.out += wire[: rng.randint(1, len(wire) - 1)]
        if self._end is End.COMPLETE:
            self._end = End.INCOMPLETE
