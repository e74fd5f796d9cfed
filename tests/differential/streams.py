"""Random streams of bytes as a client may send them behind the handshake, valid and damaged.

A stream is a function of a seed and an index, so any one can be made again. About four of ten are
valid from the first byte to the last, and know what must come of them. The others have frames that
are wrong on purpose, or bytes that are flipped, lost, inserted or doubled anywhere, or both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.differential import payloads
from tests.differential.compressor import ClientCompressor
from tests.differential.headers import head
from tests.differential.outcome import BINARY_KIND, NO_STATUS, TEXT_KIND, Close, Message, Outcome
from tests.websocket.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, xor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.differential.agreements import Agreement

SMALL_LIMIT = 2000
LARGE_LIMIT = 1 << 20  # the default

_FIN, _RSV1 = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class Stream:
    """The bytes, and all that one has to know to send and to judge them."""

    seed: int
    index: int
    agreement: Agreement
    limit: int  # of the size of a message
    data: bytes
    # Where `data` is cut into sends. Before the first cut it goes along with the handshake.
    cuts: tuple[int, ...]
    features: frozenset[str]  # what is in it, for statistics
    intended: Outcome | None  # what must come of it, if it is valid

    def describe(self) -> str:
        """Return it for people, with all its bytes."""
        return (
            f"stream {self.index} of seed {self.seed}: {self.agreement}, limit {self.limit},\n"
            f"  cuts {self.cuts}, with {', '.join(sorted(self.features))}\n"
            f"  bytes {self.data.hex()}"
        )


def generate(seed: int, index: int, agreements: Sequence[Agreement]) -> Stream:
    """Return the stream with this number."""
    rng = random.Random(f"{seed}/{index}")
    agreement = rng.choice(agreements)
    limit = rng.choice((SMALL_LIMIT, LARGE_LIMIT))
    quality = rng.random()
    script = _Script(rng, agreement, limit, spoil=0.15 if 0.45 < quality < 0.85 else 0.0)
    script.write()
    data = bytes(script.out)
    if quality > 0.7:
        data = _damage(rng, data, script)
    features = frozenset(script.features)
    valid = not any(feature.startswith(("bad", "damage")) for feature in features)
    intended = script.intended() if valid else None
    cuts = _cuts(rng, len(data))
    return Stream(seed, index, agreement, limit, data, cuts, features, intended)


def _cuts(rng: random.Random, length: int) -> tuple[int, ...]:
    kind = rng.random()
    if kind < 0.3:
        return ()
    if kind < 0.6:
        return (0,)
    if kind < 0.7 and length < 150:
        return tuple(range(length))
    return tuple(sorted(rng.randint(0, length) for _ in range(rng.randint(1, 5))))


def _damage(rng: random.Random, data: bytes, script: _Script) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not data:
            break
        at = rng.randrange(len(data))
        if rng.random() < 0.4:  # hit a header
            at = min(rng.choice(script.starts) + rng.randrange(8), len(data) - 1)
        kind = rng.choice(("flip", "replace", "remove", "insert", "double", "cut"))
        script.features.add(f"damage: {kind}")
        length = rng.choice((1, 1, 2, 5, 30))
        match kind:
            case "flip":
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case "replace":
                data = data[:at] + rng.randbytes(length) + data[at + length :]
            case "remove":
                data = data[:at] + data[at + length :]
            case "insert":
                data = data[:at] + rng.randbytes(length) + data[at:]
            case "double":
                data = data[:at] + data[at : at + length] + data[at:]
            case _:
                data = data[:at]
    return data


class _Script:
    """Writes one stream."""

    def __init__(
        self, rng: random.Random, agreement: Agreement, limit: int, *, spoil: float
    ) -> None:
        self.out = bytearray()
        self.starts = [0]  # where frames begin
        self.features: set[str] = set()
        self._rng = rng
        self._limit = limit
        self._spoil = spoil
        deflate = agreement.deflate
        self._compressor = ClientCompressor(rng, deflate, spoil) if deflate else None
        self._messages: list[Message] = []
        self._pongs: list[bytes] = []
        self._close: Close | None = None

    def intended(self) -> Outcome:
        return Outcome(tuple(self._messages), tuple(self._pongs), self._close)

    def write(self) -> None:
        rng = self._rng
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 6, 9))):
            self._item()
        if rng.random() < 0.1:
            self._message(whole=False)
        if rng.random() < 0.6:
            self._finish()

    def _item(self) -> None:
        rng = self._rng
        if rng.random() < self._spoil:
            self._bad_frame()
        kind = rng.random()
        if kind < 0.75:
            self._message()
        else:
            self._control()

    def _finish(self) -> None:
        """Write a CLOSE frame, and seldom something behind it, which nobody reads."""
        rng = self._rng
        if rng.random() < self._spoil:
            self.features.add("bad: close body")
            self._frame(_FIN | CLOSE, payloads.bad_close(rng))
            return
        body = payloads.close(rng)
        self._frame(_FIN | CLOSE, body)
        if body:
            self._close = Close(int.from_bytes(body[:2], "big"), body[2:])
        else:
            self._close = Close(NO_STATUS, b"")
        if rng.random() < 0.1:
            self.features.add("behind the close")
            self._frame(rng.randrange(256), b"behind")

    # Messages.

    def _message(self, *, whole: bool = True) -> None:
        rng = self._rng
        is_text = rng.random() < 0.6
        length = self._length()
        payload = payloads.text(rng, length) if is_text else payloads.binary(rng, length)
        if is_text and rng.random() < self._spoil:
            self.features.add("bad: text")
            payload = payloads.spoiled_text(rng, payload)
        first = TEXT if is_text else BINARY
        wire = payload
        if self._compressor and (length > self._limit or rng.random() < 0.8):
            self.features.add("compressed")
            first |= _RSV1
            wire = self._compressor.compress(payload, self.features)
        if not whole:
            self.features.add("message without an end")
            self._frame(first, wire[: rng.randint(0, len(wire))])
            if rng.random() < 0.3:
                self._control()
            return
        self._fragments(first, wire)
        self._messages.append((TEXT_KIND if is_text else BINARY_KIND, payload))

    def _length(self) -> int:
        rng = self._rng
        # Most of what is too big says so in a header; this is only known when it is inflated.
        rarely = 0.2 if self._limit == SMALL_LIMIT else 0.02
        if self._compressor and rng.random() < rarely * self._spoil:
            self.features.add("bad: inflates beyond the limit")
            return self._limit + rng.choice((1, 2, 1000))
        return payloads.size(rng, self._limit)

    def _fragments(self, first: int, wire: bytes) -> None:
        rng = self._rng
        count = 1 if rng.random() < 0.6 else rng.randint(2, 5)
        ends = sorted(rng.randint(0, len(wire)) for _ in range(count - 1))
        ends.append(len(wire))
        if count > 1:
            self.features.add("fragmented")
        start = 0
        for number, end in enumerate(ends):
            self._frame(first | (_FIN if number + 1 == count else 0), wire[start:end])
            first, start = CONTINUATION, end
            if number + 1 < count and rng.random() < 0.25:
                self.features.add("control frame between fragments")
                self._control()
            if number + 1 < count and rng.random() < 0.3 * self._spoil:
                self._bad_frame()

    def _control(self) -> None:
        rng = self._rng
        payload = rng.randbytes(rng.choice((0, 1, 4, 20, 124, 125)))
        if rng.random() < 0.6:
            self._frame(_FIN | PING, payload)
            self._pongs.append(payload)
        else:
            self._frame(_FIN | PONG, payload)

    # Frames.

    def _frame(self, first: int, payload: bytes) -> None:
        self._write(head(first, len(payload), b""), payload)

    def _write(self, unmasked: bytes, payload: bytes) -> None:
        """Write a frame with this header, to which a mask belongs."""
        self.starts.append(len(self.out))
        key = self._rng.randbytes(4) if self._rng.random() < 0.95 else bytes(4)
        self.out += unmasked + key + xor(payload, key)

    def _bad_frame(self) -> None:
        """Write a frame that is wrong, or is wrong here, more often than not."""
        rng = self._rng
        name, bad = rng.choice(_BAD_HEADS)
        if name == "message too big":
            bad = head(0x82, self._limit + 1, b"")
        self.features.add(f"bad: {name}")
        if bad[1] >= 0x80:
            self._write(bad, b"xyz"[: rng.choice((0, 3))])
        else:
            self.starts.append(len(self.out))
            self.out += bad + b"not masked"


_BAD_HEADS = [
    ("opcode", b"\x83\x83"),
    ("opcode", b"\x0b\x80"),
    ("opcode", b"\x8f\xff"),
    ("reserved bits", b"\xc1\x83"),  # RSV1 where nothing is compressed; else no DEFLATE
    ("reserved bits", b"\xc9\x80"),
    ("reserved bits", b"\x40\x83"),  # RSV1 in a continuation frame
    ("reserved bits", b"\xa2\x83"),
    ("reserved bits", b"\x91\x83"),
    ("not masked", b"\x81\x0a"),
    ("not masked", b"\x89\x00"),
    ("fragmented control", b"\x09\x83"),
    ("fragmented control", b"\x08\x80"),
    ("control too long", b"\x89\xfe\x00\x7e"),
    ("control too long", b"\x88\xff\x00\x00\x00\x00\x00\x01\x00\x00"),
    ("length not minimal", b"\x82\xfe\x00\x03"),
    ("length not minimal", b"\x81\xfe\x00\x7d"),
    ("length not minimal", b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x03"),
    ("length not minimal", b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff"),
    ("length with its highest bit", b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x03"),
    ("message too big", b""),  # by one byte
    ("message too big", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ("continuation", b"\x80\x83"),
    ("continuation", b"\x00\x80"),
    ("new message inside of another", b"\x01\x80"),
    ("new message inside of another", b"\x02\x83"),
    ("new message inside of another", b"\x81\x83"),
]
