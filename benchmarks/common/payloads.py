"""The messages that are sent: JSON as a program would publish it, and its compressed form.

All-equal or random bytes would flatter or wrong a compressor, so the texts look like the updates of
a shop or an exchange: field names that repeat, numbers and identifiers that do not. They come from
a generator with a fixed seed and are the same in every run. There are many different ones, more
than a window of 32 KiB remembers, since a compressor that keeps its window would otherwise find the
whole message in it and seem to be much better than it is.
"""

from __future__ import annotations

import json
import random
import zlib

__all__ = ["deflate", "inflate", "json_texts", "repeated"]

_SYNC_MARK = b"\x00\x00\xff\xff"  # the end of each message, which RFC 7692 takes away


def json_texts(count: int, size: int) -> list[bytes]:
    """Return `count` different JSON texts of exactly `size` bytes, 250 or more."""
    generator = random.Random(7692)
    return [_json_text(generator, sequence, size) for sequence in range(count)]


def _json_text(generator: random.Random, sequence: int, size: int) -> bytes:
    start = f'{{"type":"orders","sequence":{1_000_000 + sequence},"orders":['
    middle, end = '],"trace":"', '"}'
    room = size - len(start) - len(middle) - len(end)
    orders: list[str] = []
    while room > 0:
        order = json.dumps(_order(generator), separators=(",", ":"))
        if len(order) + 1 > room:
            break
        orders.append(order)
        room -= len(order) + (len(orders) > 1)
    if not orders:
        raise ValueError(f"{size} bytes are too few for such a text")
    trace = f"{generator.getrandbits(4 * room):0{room}x}" if room else ""
    return f"{start}{','.join(orders)}{middle}{trace}{end}".encode("ascii")


def _order(generator: random.Random) -> dict[str, object]:
    return {
        "id": generator.randrange(10**8, 10**9),
        "symbol": generator.choice(("BREAD", "MILK", "HONEY", "APPLES", "COFFEE", "SALT")),
        "side": generator.choice(("buy", "sell")),
        "price": round(generator.uniform(1, 500), 2),
        "quantity": generator.randrange(1, 1000),
        "status": generator.choice(("open", "filled", "partly filled", "cancelled")),
        "updated": f"2026-05-{generator.randrange(1, 32):02}T{generator.randrange(24):02}:"
        f"{generator.randrange(60):02}:{generator.randrange(60):02}.{generator.randrange(1000):03}Z",
    }


def deflate(payload: bytes, *, level: int = 6, window_bits: int = 15) -> bytes:
    """Compress one message with RFC 7692, without a history: right whatever was agreed on."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed.removesuffix(_SYNC_MARK)


def repeated(compressed: bytes, count: int) -> bytes:
    """Return the compressed form of `count` times the text that `deflate` has compressed."""
    # It refers to nothing before itself and ends at a byte, so it can follow itself.
    return _SYNC_MARK.join([compressed] * count)


def inflate(decompressor: zlib._Decompress, payload: bytes) -> bytes:
    """Decompress one message with the history that the decompressor has."""
    return decompressor.decompress(payload + _SYNC_MARK)
