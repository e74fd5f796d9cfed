"""What the load client knows of frames: it must count right however the bytes are cut."""

from __future__ import annotations

import json
import struct
import zlib

import pytest

from benchmarks.common.payloads import deflate, inflate, json_texts, repeated
from benchmarks.common.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    TEXT,
    FrameCounter,
    ProtocolError,
    frame,
    parse_header,
    parse_response,
)

PING = 9


def server_frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


# Payloads that look like headers, so that a counter that loses its place is found out.
STREAM = b"".join(
    (
        server_frame(TEXT, b"\x81\x00" * 20, rsv1=True),
        server_frame(BINARY, b""),
        server_frame(TEXT, b"\x81\x05", fin=False),
        server_frame(PING, b"\x82\x00"),
        server_frame(CONTINUATION, b"\x80\x00" * 100),
        server_frame(TEXT, b"\x81\x00" * 40_000),
        server_frame(BINARY, b"\x88\x00"),
    )
)
MESSAGES = 5


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 125, 126, 127, 1000, 65536, len(STREAM)])
def test_messages_are_counted_however_the_stream_is_cut(step: int) -> None:
    counter = FrameCounter()
    pieces = [STREAM[i : i + step] for i in range(0, len(STREAM), step)]
    assert sum(map(counter.feed, pieces)) == MESSAGES
    assert counter.is_between_frames


def test_a_message_counts_when_its_last_byte_is_there() -> None:
    stream = server_frame(TEXT, b"x" * 300)
    counter = FrameCounter()
    assert [counter.feed(stream[i : i + 1]) for i in range(len(stream) - 1)] == [0] * 303
    assert not counter.is_between_frames
    assert counter.feed(stream[-1:]) == 1
    assert counter.is_between_frames


def test_a_close_frame_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="closes"):
        FrameCounter().feed(server_frame(TEXT, b"1") + server_frame(CLOSE, b"\x03\xf1"))


def test_a_masked_frame_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="masked"):
        FrameCounter().feed(frame(TEXT, b"1"))


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_a_frame_is_masked_and_says_how_long_it_is(length: int) -> None:
    payload = bytes(i % 251 for i in range(length))
    data = frame(TEXT, payload, compressed=True)
    assert data[0] == 0xC1
    unmasked = bytes([data[0], data[1] & 0x7F]) + data[2:]
    header = parse_header(unmasked)
    assert header is not None
    first, start, size = header
    mask, masked = data[start : start + 4], data[start + 4 :]
    assert (first, size) == (0xC1, length)
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)) == payload


def test_a_refused_handshake_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="refused"):
        parse_response(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0")


def test_texts_are_json_of_the_size_that_is_wanted_and_differ() -> None:
    texts = json_texts(20, 1024)
    assert {len(text) for text in texts} == {1024}
    assert len(set(texts)) == 20
    assert all(json.loads(text)["orders"] for text in texts)


@pytest.mark.parametrize("window_bits", [9, 15])
def test_what_is_deflated_comes_back(window_bits: int) -> None:
    decompressor = zlib.decompressobj(-window_bits)
    for text in json_texts(5, 2000):
        compressed = deflate(text, window_bits=window_bits)
        assert len(compressed) < 1200
        assert inflate(decompressor, compressed) == text


def test_a_repeated_text_inflates_to_so_many_of_them() -> None:
    compressed = repeated(deflate(b"0123456789" * 100), 7)
    assert inflate(zlib.decompressobj(-15), compressed) == b"0123456789" * 700
