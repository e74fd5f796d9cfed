"""A client's side of permessage-deflate: the compressed payloads that RFC 7692 allows.

More kinds of them than one program would make: every level and strategy, windows smaller than
agreed on, flushes inside of a message, stored blocks, messages that end with BFINAL, and blocks
behind such a block (section 7.2.3). Where the context is taken over, a message refers to those
before it, unless the client chooses to begin anew.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from tests.differential.agreements import Deflate

TAIL = b"\x00\x00\xff\xff"

_LARGEST_WINDOW = 15

_STRATEGIES = (
    zlib.Z_DEFAULT_STRATEGY,
    zlib.Z_FILTERED,
    zlib.Z_HUFFMAN_ONLY,
    zlib.Z_RLE,
    zlib.Z_FIXED,
)


class ClientCompressor:
    """Compresses the messages of one connection, and spoils some of them."""

    def __init__(self, rng: random.Random, deflate: Deflate, spoil: float) -> None:
        self._rng = rng
        self._takeover = deflate.client_takeover
        self._bits = deflate.client_bits
        self._spoil = spoil
        self._compressor = self._new()

    def compress(self, payload: bytes, features: set[str]) -> bytes:
        """Return the compressed payload of a message, and note what is special about it."""
        rng = self._rng
        if not self._takeover or rng.random() < 0.2:
            self._compressor = self._new()
        if self._bits < _LARGEST_WINDOW and rng.random() < self._spoil:
            features.add("bad: window")
            self._compressor = zlib.compressobj(9, wbits=-_LARGEST_WINDOW)
        if not payload and rng.random() < 0.3:
            features.add("empty compressed message of one byte")
            self._compressor = self._new()
            return b"\x00"  # section 7.2.3.6
        wire = bytearray()
        for piece in self._pieces(payload):
            wire += self._compressor.compress(piece)
            wire += self._between(features)
        self._end(wire, features)
        if rng.random() < self._spoil:
            features.add("bad: deflate")
            _damage(rng, wire)
        return bytes(wire)

    def _new(self) -> zlib._Compress:
        rng = self._rng
        bits = self._bits if rng.random() < 0.7 else rng.randint(9, self._bits)
        level = rng.choice((0, 1, 6, rng.randint(1, 9)))
        return zlib.compressobj(
            level, zlib.DEFLATED, -bits, rng.choice((1, 8, 9)), rng.choice(_STRATEGIES)
        )

    def _pieces(self, payload: bytes) -> list[bytes]:
        rng = self._rng
        if rng.random() < 0.7:
            return [payload]
        ends = sorted(rng.randint(0, len(payload)) for _ in range(rng.randint(1, 3)))
        return [payload[a:b] for a, b in zip([0, *ends], [*ends, len(payload)], strict=True)]

    def _between(self, features: set[str]) -> bytes:
        """Return what may stand between two pieces of a message, often nothing."""
        kind = self._rng.random()
        if kind < 0.75:
            return b""
        if kind < 0.95:
            features.add("flush inside of a message")
            modes = (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH)
            return self._compressor.flush(self._rng.choice(modes))
        features.add("final block inside of a message")
        return self._finish()

    def _end(self, wire: bytearray, features: set[str]) -> None:
        if self._rng.random() < 0.08:
            features.add("final block at the end of a message")
            wire += self._finish() + b"\x00"  # section 7.2.3.4
            return
        wire += self._compressor.flush(zlib.Z_SYNC_FLUSH)  # nothing, if it was flushed just now
        if self._rng.random() < 0.05:
            features.add("empty block before the end of a message")
            wire += b"\x00" + TAIL
        assert wire.endswith(TAIL)
        del wire[-len(TAIL) :]

    def _finish(self) -> bytes:
        """Return a final block; what follows must not refer to what is before it."""
        end = self._compressor.flush(zlib.Z_FINISH)
        self._compressor = self._new()
        return end


def _damage(rng: random.Random, wire: bytearray) -> None:
    at = rng.randrange(len(wire))
    match rng.choice(("flip", "cut", "cut", "append", "insert")):
        case "flip":
            wire[at] ^= 1 << rng.randrange(8)
        case "cut":
            del wire[at:]
        case "append":
            wire += rng.randbytes(rng.randint(1, 8))
        case _:
            wire[at:at] = rng.randbytes(rng.randint(1, 8))
