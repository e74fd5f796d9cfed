"""The comparison notices what is wrong: a check that cannot fail is none."""

from __future__ import annotations

import dataclasses
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.differential.agreements import AGREEMENTS, COMPRESSED, UNCOMPRESSED
from tests.differential.compare import complaints, expectations
from tests.differential.compressor import TAIL
from tests.differential.outcome import Close, Outcome
from tests.differential.run import play
from tests.differential.server import Echo, parse_answer, running
from tests.differential.streams import Stream, generate

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import WebSocketBinaryMessage, WebSocketMessageHandler, WebSocketTextMessage

    from tests.differential.agreements import Agreement

replace = dataclasses.replace


@pytest.fixture(scope="module")
def stream() -> Stream:
    """A valid stream with messages, pongs and a CLOSE frame."""
    streams = (generate(1, index, AGREEMENTS) for index in range(1000))
    return next(stream for stream in streams if is_rich(stream.intended))


def is_rich(outcome: Outcome | None) -> bool:
    return bool(
        outcome
        and len(set(outcome.messages)) > 2
        and len(set(outcome.pongs)) > 1
        and outcome.close
        and outcome.close.reason
    )


CHANGES: dict[str, Callable[[Outcome], Outcome]] = {
    "last message lost": lambda seen: replace(seen, messages=seen.messages[:-1]),
    "first message lost": lambda seen: replace(seen, messages=seen.messages[1:]),
    "message made up": lambda seen: replace(seen, messages=(*seen.messages, ("text", b""))),
    "order of messages": lambda seen: replace(seen, messages=seen.messages[::-1]),
    "payload": lambda seen: replace(seen, messages=tuple((k, p + b"!") for k, p in seen.messages)),
    "kind": lambda seen: replace(seen, messages=tuple(("?", p) for _, p in seen.messages)),
    "pong lost": lambda seen: replace(seen, pongs=seen.pongs[:-1]),
    "pong made up": lambda seen: replace(seen, pongs=(*seen.pongs, b"")),
    "order of pongs": lambda seen: replace(seen, pongs=seen.pongs[::-1]),
    "no close": lambda seen: replace(seen, close=None),
    "code": lambda seen: replace(seen, close=seen.close and replace(seen.close, code=4321)),
    "reason": lambda seen: replace(seen, close=seen.close and replace(seen.close, reason=b"")),
    "fault": lambda seen: replace(seen, fault="anything"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_wrong_outcome_is_noticed(stream: Stream, change: Callable[[Outcome], Outcome]) -> None:
    expected, _ = expectations(stream)
    assert stream.intended is not None
    assert complaints(stream, stream.intended, expected) == []
    (complaint,) = complaints(stream, change(stream.intended), expected)
    for said in ("seed 1", stream.data.hex(), "wsproto", "websockets", f"--only {stream.index}"):
        assert said in complaint


@pytest.mark.parametrize("wrong", [1000, 1002, 1003, 1006, 1008, 1009, None])
def test_a_wrong_code_for_an_error_is_noticed(wrong: int | None) -> None:
    streams = (generate(1, index, AGREEMENTS) for index in range(1000))
    for stream in streams:
        expected, _ = expectations(stream)
        if all(outcome.close == Close(1007) for _, outcome in expected):
            break
    ours = expected[0][1]
    assert complaints(stream, ours, expected) == []
    ours = replace(ours, close=wrong and Close(wrong, b"why"))
    assert len(complaints(stream, ours, expected)) == 1


# Servers that are wrong.


class Drops(Echo):
    """Answers all but a few messages."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        if len(message.payload) != 5:
            super().on_text_message(message)


class Alters(Echo):
    """Changes one byte of some messages."""

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        payload = message.payload
        end = bytes([payload[-1] ^ 1]) if len(payload) > 100 else payload[-1:]
        message.connection.send_binary(payload[:-1] + end, compress=False)


class MixesUp(Echo):
    """Takes empty texts for empty binary messages."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        if message.payload:
            super().on_text_message(message)
        else:
            message.connection.send_binary(b"")


class Closes(Echo):
    """Has enough after a long message."""

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        super().on_binary_message(message)
        if len(message.payload) > 1000:
            message.connection.close(1000)


class Compresses(Echo):
    """Does what the program has asked it not to do."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)


@pytest.mark.parametrize(
    "handler", [Drops(), Alters(), MixesUp(), Closes(), Compresses()], ids=type
)
def test_a_server_that_is_wrong_now_and_then_is_noticed(handler: WebSocketMessageHandler) -> None:
    with running(handler) as servers:
        tally = play(servers, 2, range(400))
    assert tally.complaints
    assert len(tally.complaints) < 200  # all other streams are as they should be


# Bytes of a server that are wrong.

PLAIN = UNCOMPRESSED[0]
ALONE, TAKEOVER = COMPRESSED[0], COMPRESSED[1]


def compressed(*payloads: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Return frames of messages that refer to one another."""
    compressor = zlib.compressobj(wbits=-15)
    out = b""
    for payload in payloads:
        wire = compressor.compress(payload) + compressor.flush(mode)
        wire = wire.removesuffix(TAIL)
        out += bytes([0xC2, len(wire)]) + wire
    return out


WORD = b"electroencephalography"
WORDS = compressed(WORD, WORD)
FIRST = compressed(WORD)
SECOND = WORDS.removeprefix(FIRST)


def answer(agreement: Agreement, frames: bytes) -> Outcome:
    extensions = f"\r\nSec-WebSocket-Extensions: {agreement.answer}" if agreement.answer else ""
    head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket{extensions}\r\n\r\n"
    return parse_answer(head.encode() + frames, agreement)


@pytest.mark.parametrize(
    ("agreement", "frames", "fault"),
    [
        (PLAIN, b"\x81", "inside of a header"),
        (PLAIN, b"\x81\x02a", "inside of a frame"),
        (PLAIN, b"\x81\x82aaaaaa", "masked"),
        (PLAIN, b"\x82\x7e\x00\x02aa", "not minimal"),
        (PLAIN, b"\x01\x00", "first byte"),
        (PLAIN, b"\xa1\x00", "first byte"),
        (PLAIN, FIRST, "without an agreement"),
        (PLAIN, b"\x83\x00", "opcode 3"),
        (PLAIN, b"\x80\x00", "opcode 0"),
        (PLAIN, b"\x89\x00", "opcode 9"),
        (PLAIN, b"\x81\x01\xff", "codec"),
        (PLAIN, b"\x88\x01a", "CLOSE frame of 1"),
        (PLAIN, b"\x88\x03\x03\xe8\xff", "codec"),
        (PLAIN, b"\x88\x00\x8a\x00", "behind the CLOSE"),
        (PLAIN, b"\x8a\x7e\x00\x80" + bytes(128), "pong is too long"),
        (ALONE, b"\xc8\x00", "RSV1 in a control frame"),
        (ALONE, b"\xc2\x02ab", "DEFLATE"),
        (ALONE, SECOND, "too far back"),
        (ALONE, WORDS, "too far back"),
        (TAKEOVER, FIRST + WORDS[:-1] + b"\xff", "DEFLATE"),
        (ALONE, b"\xc2\x05" + FIRST[2:7], "DEFLATE"),
        (ALONE, compressed(WORD, mode=zlib.Z_FINISH), "final block"),
        (ALONE, b"\xc2\x05\x00\x09\x00\xf6\xff", "inside of a block"),
        (ALONE, compressed(b"abcdef"), "wish of the program"),
    ],
)
def test_wrong_bytes_of_the_server_are_noticed(
    agreement: Agreement, frames: bytes, fault: str
) -> None:
    assert fault in answer(agreement, frames).fault


def test_right_bytes_of_the_server() -> None:
    assert answer(PLAIN, b"\x81\x01a\x8a\x01b\x88\x02\x03\xe8") == Outcome(
        messages=(("text", b"a"),), pongs=(b"b",), close=Close(1000, b"")
    )
    word = ("binary", WORD)
    outcome = answer(TAKEOVER, WORDS + b"\x88\x00")
    assert outcome == Outcome(messages=(word, word), close=Close(1005, b""), compressed=2)
    outcome = answer(ALONE, FIRST + FIRST)
    assert outcome == Outcome(messages=(word, word), compressed=2)


def test_a_wrong_handshake_is_noticed() -> None:
    assert "agreed on" in parse_answer(answer_head(TAKEOVER.answer), ALONE).fault
    assert "agreed on" in parse_answer(answer_head(ALONE.answer), PLAIN).fault
    assert "status" in parse_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n", PLAIN).fault
    assert "status" in parse_answer(b"", PLAIN).fault


def answer_head(extensions: str) -> bytes:
    status = "HTTP/1.1 101 Switching Protocols"
    return f"{status}\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n".encode()
