"""Corrections inside of the references: permessage-deflate as they would do it without their bugs.

Each flag of `Patch` sets one thing right, for `differences` to name and to count. They are
subclasses of the references' own classes, or stand where these have a decompressor of zlib's; what
inflates is Python's zlib with and without them.
"""

from __future__ import annotations

import codecs
import enum
import functools
import zlib
from typing import TYPE_CHECKING, Any

import websockets.extensions.permessage_deflate
import wsproto.extensions
from websockets import frames
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from tests.differential.compressor import TAIL
from tests.differential.outcome import INVALID_PAYLOAD, MESSAGE_TOO_BIG, Close

if TYPE_CHECKING:
    from tests.differential.agreements import Deflate

LARGEST_WINDOW = 15


class Patch(enum.Flag):
    """What is set right."""

    NONE = 0
    SURROGATES = enum.auto()  # a surrogate in UTF-8 is wrong at its second byte
    LIMIT = enum.auto()  # the limit is on what is inflated, control frames do not count
    CODE = enum.auto()  # bad DEFLATE is 1007, not 1002
    CONTROL = enum.auto()  # a control frame changes nothing for the message it interrupts
    WINDOW = enum.auto()  # a message may refer to all that the inflater remembers
    NO_BYTES = enum.auto()  # a compressed message of no bytes is an empty one
    FINAL_BLOCK = enum.auto()  # blocks may follow a final one, and nothing is added behind it
    TAIL = enum.auto()  # what the receiver adds is no data
    BOUNDARY = enum.auto()  # a message without takeover ends between two blocks
    ORDER = enum.auto()  # what is behind the limit is not looked at


class TooBigError(Exception):
    """A message is larger than the limit, unless something else is wrong with it before."""

    def __init__(self, close: Close) -> None:
        super().__init__()
        self.close = close


class Inflater:
    """A decompressor in the place of zlib's, which knows where a message ends."""

    def __init__(self, deflate: Deflate, limit: int, patches: Patch) -> None:
        self._bits = LARGEST_WINDOW if Patch.WINDOW in patches else deflate.client_bits
        self._patches = patches
        self._takeover = deflate.client_takeover
        self._limit = limit
        self._plain = bytearray()  # of the open message
        self.is_text = False
        self._zlib = zlib.decompressobj(-self._bits)
        self._fed = False  # since the message began, or since its last final block
        self._final = False  # such a block was the last thing
        self.unconsumed_tail = b""  # a limit is somebody else's business
        self.left: int | None = None  # bytes to the end of the message; the tail comes behind them

    def decompress(self, data: bytes, _max_length: int = 0) -> bytes:
        """Return the plain bytes of what comes next of a message."""
        if self.left is None:
            return self._inflate(data)
        data, tail = data[: self.left], data[self.left :]
        self.left -= len(data)
        plain = self._inflate(data)
        if tail:
            assert tail == TAIL
            plain += self._end()
        return plain

    def flush(self) -> bytes:
        """Return nothing, as `decompress` holds nothing back."""
        return b""

    def _inflate(self, data: bytes) -> bytes:
        plain = b""
        while data:
            piece = self._decompress(data)
            plain += piece
            self._plain += piece
            self._fed, self._final, data = True, self._zlib.eof, b""
            if self._final and Patch.FINAL_BLOCK in self._patches:
                data = self._zlib.unused_data
                self._zlib = zlib.decompressobj(-self._bits)
        return plain

    def _decompress(self, data: bytes) -> bytes:
        if Patch.ORDER not in self._patches:
            return self._zlib.decompress(data)
        most = self._limit + 1 - len(self._plain)  # one byte too many is enough to know
        before = self._zlib.copy()
        try:
            piece = self._zlib.decompress(data, most)
        except zlib.error:
            piece, may_go_on = _before_error(before, data, most)
            if len(piece) < most:
                if may_go_on:
                    raise TooBigError(Close(MESSAGE_TOO_BIG, or_code=INVALID_PAYLOAD)) from None
                raise
        if len(piece) == most:
            begun = bytes(self._plain + piece)[: self._limit]
            is_bad = self.is_text and not _begins_text(begun)
            raise TooBigError(Close(INVALID_PAYLOAD if is_bad else MESSAGE_TOO_BIG))
        return piece

    def _end(self) -> bytes:
        needs_nothing = self._final and Patch.FINAL_BLOCK in self._patches
        needs_nothing |= not self._fed and Patch.NO_BYTES in self._patches
        plain = b"" if needs_nothing else self._inflate(TAIL)
        if plain and Patch.TAIL in self._patches:
            raise zlib.error("the tail was taken for data")
        if not self._takeover and Patch.BOUNDARY in self._patches and not self._at_boundary():
            raise zlib.error("the message ends inside of a block")
        self._fed = self._final = False
        self._plain.clear()
        return plain

    def _at_boundary(self) -> bool:
        """Whether a block could begin here: an empty final one would end the stream."""
        if self._zlib.eof:
            return True
        trial = self._zlib.copy()
        try:
            trial.decompress(b"\x03\x00")
        except zlib.error:
            return False
        return trial.eof


def _before_error(inflater: zlib._Decompress, data: bytes, most: int) -> tuple[bytes, bool]:
    """Return what comes out of data before what is wrong in it, and whether it may be ``most``.

    An error hides what has come out of the byte that it is in, so that byte is given all values. If
    one of them gives enough, the limit and the error may both be there.
    """
    right, wrong = 0, len(data)  # bytes without the error, and with it
    while wrong - right > 1:
        middle = (right + wrong) // 2
        try:
            inflater.copy().decompress(data[:middle], most)
        except zlib.error:
            wrong = middle
        else:
            right = middle
    piece = inflater.decompress(data[:right], most)
    missing = most - len(piece)
    return piece, any(len(_attempt(inflater, value, missing)) == missing for value in range(256))


def _attempt(inflater: zlib._Decompress, value: int, most: int) -> bytes:
    try:
        return inflater.copy().decompress(bytes([value]), most)
    except zlib.error:
        return b""


def _begins_text(data: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


_IN_INFLATER = (
    Patch.WINDOW | Patch.NO_BYTES | Patch.FINAL_BLOCK | Patch.TAIL | Patch.BOUNDARY | Patch.ORDER
)


class WsprotoDeflate(wsproto.extensions.PerMessageDeflate):
    """wsproto's extension, patched."""

    def __init__(self, deflate: Deflate, limit: int, patches: Patch) -> None:
        super().__init__(
            client_no_context_takeover=not deflate.client_takeover,
            client_max_window_bits=deflate.client_bits,
            server_no_context_takeover=not deflate.server_takeover,
            server_max_window_bits=deflate.server_bits,
        )
        self._enabled = True
        self._inflater = functools.partial(Inflater, deflate, limit, patches)
        self._patches = patches

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        if Patch.CONTROL in self._patches and opcode.iscontrol() and not rsv.rsv1:
            self._inbound_is_compressible = False
            return RsvBits(True, False, False)
        result = super().frame_inbound_header(proto, opcode, rsv, payload_length)
        current: Any = self._decompressor
        if (
            current is not None
            and not isinstance(current, Inflater)
            and self._patches & _IN_INFLATER
        ):
            current = self._inflater()
            self._decompressor = current
        if isinstance(current, Inflater) and opcode is not Opcode.CONTINUATION:
            current.left = None
            current.is_text = opcode is Opcode.TEXT
        return result

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if Patch.CONTROL in self._patches and not self._inbound_is_compressible:
            return None
        current: Any = self._decompressor
        if fin and isinstance(current, Inflater):
            current.left = 0
        return super().frame_inbound_complete(proto, fin)


class WebsocketsDeflate(websockets.extensions.permessage_deflate.PerMessageDeflate):
    """The extension of websockets, patched."""

    def __init__(self, deflate: Deflate, limit: int, patches: Patch) -> None:
        self._inflater = functools.partial(Inflater, deflate, limit, patches)
        self._patches = patches
        self._is_text = False
        self._left: int | None = None
        super().__init__(
            remote_no_context_takeover=not deflate.client_takeover,
            local_no_context_takeover=not deflate.server_takeover,
            remote_max_window_bits=deflate.client_bits,
            local_max_window_bits=deflate.server_bits,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Put an `Inflater` in the place of any decompressor."""
        if name == "decoder" and self._patches & _IN_INFLATER:
            value = self._inflater()
            value.left, value.is_text = self._left, self._is_text
        super().__setattr__(name, value)

    def decode(self, frame: frames.Frame, *, max_size: int | None = None) -> frames.Frame:
        self._left = len(frame.data) if frame.fin else None
        if frame.opcode in (frames.Opcode.TEXT, frames.Opcode.BINARY):
            self._is_text = frame.opcode is frames.Opcode.TEXT
        current = getattr(self, "decoder", None)
        if isinstance(current, Inflater):
            current.left, current.is_text = self._left, self._is_text
        return super().decode(frame, max_size=max_size)
