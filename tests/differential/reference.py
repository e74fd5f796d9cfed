"""What two other implementations make of a stream: wsproto, and the sans-I/O part of websockets.

Each sees the bytes as a server behind the handshake would. What they leave to the program that uses
them, this module does the way such a program would: with wsproto the limit of a message's size,
with websockets the check that a text is UTF-8.
"""

from __future__ import annotations

import codecs
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets import frames
from websockets.protocol import Protocol, Side, State
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from tests.differential.outcome import (
    BINARY_KIND,
    INVALID_PAYLOAD,
    MESSAGE_TOO_BIG,
    TEXT_KIND,
    Close,
    Message,
    Outcome,
)
from tests.differential.patches import Patch, TooBigError, WebsocketsDeflate, WsprotoDeflate

if TYPE_CHECKING:
    from wsproto.events import Event
    from wsproto.extensions import Extension

    from tests.differential.agreements import Deflate

_SILENT = logging.getLogger("tests.differential.reference")
_SILENT.disabled = True


@dataclass(frozen=True, slots=True)
class Question:
    """What a reference is asked about: bytes, and the circumstances."""

    data: bytes
    limit: int
    deflate: Deflate | None
    patches: Patch = Patch.NONE


def run_wsproto(question: Question) -> Outcome:
    """Return what wsproto makes of these bytes."""
    patches = question.patches
    extensions: list[Extension] = []
    if question.deflate:
        extensions.append(WsprotoDeflate(question.deflate, question.limit, patches))
    connection = Connection(ConnectionType.SERVER, extensions, question.data)
    reader = _EventReader(question.limit)
    try:
        for event in connection.events():
            reader.take(event, connection)
            if Patch.SURROGATES in patches:
                _refuse_surrogate(_decoder_of(connection))
    except _WrongMessageError as error:
        return reader.outcome(Close(error.code))
    except TooBigError as error:
        return reader.outcome(error.close)
    return reader.outcome(reader.close)


class _EventReader:
    """Puts the pieces of messages together that wsproto hands out."""

    def __init__(self, limit: int) -> None:
        self.close: Close | None = None
        self._limit = limit
        self._messages: list[Message] = []
        self._pongs: list[bytes] = []
        self._begun = bytearray()

    def outcome(self, close: Close | None) -> Outcome:
        return Outcome(tuple(self._messages), tuple(self._pongs), close)

    def take(self, event: Event, connection: Connection) -> None:
        if isinstance(event, TextMessage):
            self._take_piece(TEXT_KIND, event.data.encode(), last=event.message_finished)
        elif isinstance(event, BytesMessage):
            self._take_piece(BINARY_KIND, bytes(event.data), last=event.message_finished)
        elif isinstance(event, Ping):
            self._pongs.append(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            is_answer = connection.state is ConnectionState.REMOTE_CLOSING
            reason = (event.reason or "").encode() if is_answer else None
            self.close = Close(int(event.code), reason)

    def _take_piece(self, kind: str, piece: bytes, *, last: bool) -> None:
        self._begun += piece
        if len(self._begun) > self._limit:
            raise _WrongMessageError(MESSAGE_TOO_BIG)
        if last:
            self._messages.append((kind, bytes(self._begun)))
            self._begun.clear()


def _decoder_of(connection: Connection) -> codecs.IncrementalDecoder | None:
    return connection._proto._message_decoder.decoder


def _refuse_surrogate(decoder: codecs.IncrementalDecoder | None) -> None:
    """Refuse what a decoder holds back if its second byte is wrong: it waits for a third one."""
    held = decoder.getstate()[0] if decoder else b""
    if len(held) == 2 and held[0] == 0xED and held[1] >= 0xA0:
        raise _WrongMessageError(INVALID_PAYLOAD)


def run_websockets(question: Question) -> Outcome:
    """Return what websockets makes of these bytes."""
    patches = question.patches
    max_size = None if Patch.LIMIT in patches else question.limit
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=max_size, logger=_SILENT)
    if question.deflate:
        protocol.extensions = [WebsocketsDeflate(question.deflate, question.limit, patches)]
    protocol.receive_data(question.data)
    protocol.receive_eof()
    reader = _FrameReader(question.limit, patches)
    for frame in protocol.events_received():
        assert isinstance(frame, frames.Frame)
        try:
            reader.take(frame)
        except _WrongMessageError as error:
            return reader.outcome(Close(error.code))
    sent = protocol.close_sent
    if sent is None:
        return reader.outcome(None)
    cause = protocol.parser_exc
    if cause is None:
        return reader.outcome(Close(int(sent.code), sent.reason.encode()))
    if isinstance(cause, TooBigError):
        return reader.outcome(cause.close)
    is_deflate = Patch.CODE in patches and isinstance(cause.__cause__, zlib.error)
    return reader.outcome(Close(INVALID_PAYLOAD if is_deflate else int(sent.code)))


class _WrongMessageError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _FrameReader:
    """Puts the frames together that websockets hands out, and decodes the text in them."""

    def __init__(self, limit: int, patches: Patch) -> None:
        self._limit = limit
        self._patches = patches
        self._messages: list[Message] = []
        self._pongs: list[bytes] = []
        self._begun = bytearray()
        self._kind = BINARY_KIND
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def outcome(self, close: Close | None) -> Outcome:
        return Outcome(tuple(self._messages), tuple(self._pongs), close)

    def take(self, frame: frames.Frame) -> None:
        if frame.opcode is frames.Opcode.PING:
            self._pongs.append(bytes(frame.data))
        if frame.opcode in frames.CTRL_OPCODES:
            return
        if frame.opcode is not frames.Opcode.CONT:
            self._kind = TEXT_KIND if frame.opcode is frames.Opcode.TEXT else BINARY_KIND
        if self._kind == TEXT_KIND:
            self._decode(frame)
        self._begun += frame.data
        if len(self._begun) > self._limit:
            raise _WrongMessageError(MESSAGE_TOO_BIG)
        if frame.fin:
            self._messages.append((self._kind, bytes(self._begun)))
            self._begun.clear()

    def _decode(self, frame: frames.Frame) -> None:
        try:
            self._decoder.decode(frame.data, frame.fin)
        except UnicodeDecodeError:
            raise _WrongMessageError(INVALID_PAYLOAD) from None
        if Patch.SURROGATES in self._patches:
            _refuse_surrogate(self._decoder)
