"""Request bodies: how long one is, and collecting it as it comes.

RFC 9112 section 6 knows two framings for a request: ``Content-Length`` and ``chunked``. Anything
else, or both together, is refused, since the next request would begin at a place that two
programs may see differently. A body that arrives is kept in memory, and from 64 KiB on in a
temporary file. These classes see bytes only; the acceptor does the reading.
"""

from __future__ import annotations

import re
from contextlib import suppress
from enum import Enum, auto
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Final, cast

from handy_ws.http.head import BadRequest
from handy_ws.http.shortage import ShortageLog
from handy_ws.http.syntax import NOT_CONTROL, QUOTED, TOKEN, is_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedIOBase

    from handy_ws.http.head import RequestHead

__all__ = ["ChunkedBody", "RequestBody", "SizedBody", "body_of", "waits_for_continue"]

_IN_MEMORY: Final = 64 * 1024
_shortage = ShortageLog("a request body cannot be kept for the moment: %s")
#: The longest line with the size of a chunk, or with a trailer field.
_MAX_LINE: Final = 1024
#: How many bytes more than twice the data the lines with the sizes may have, all together, not
#: counting so many of each line.
_MAX_OVERHEAD: Final = 16 * 1024
_CHUNK_OVERHEAD: Final = 16
#: The most bytes of trailer fields, which are read and thrown away.
_MAX_TRAILERS: Final = 8 * 1024
#: Fields that frame a message or choose its receiver: RFC 9110 section 6.5.1.
_NOT_IN_TRAILERS: Final = frozenset({"content-length", "host", "transfer-encoding"})
# The digits suffice for 64 bits. Python refuses to convert thousands of them.
_LENGTH = re.compile(r"[0-9]{1,20}")
# A size and perhaps extensions, which nobody uses: RFC 9112 section 7.1.1. They are skipped, but
# what is none is refused.
_EXTENSION = rf'[ \t]*;[ \t]*{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|"{QUOTED}"))?'
_SIZE_LINE = re.compile(rf"([0-9A-Fa-f]{{1,16}})(?:{_EXTENSION})*\r\n".encode())


class RequestBody:
    """What the two framings have in common: where the bytes go, and the limit.

    Attributes:
        size: how many bytes of the body have come.
        sink: takes the bytes of the body as they come; None to keep them in a file.
    """

    def __init__(self, limit: int) -> None:
        """Make an empty body that may grow to `limit` bytes."""
        self._limit = limit
        self.size = 0
        self.sink: Callable[[bytes | bytearray | memoryview], object] | None = None
        self._file: SpooledTemporaryFile[bytes] | None = None

    def feed(self, data: bytes | bytearray) -> bytes | None:
        """Take what came from the socket.

        Returns:
            None while the body is incomplete; when it is whole, the bytes that come after it.

        Raises:
            BadRequest: 400 for malformed chunks, 413 for too many bytes, 503 if the temporary file
                cannot be made or written.
        """
        raise NotImplementedError

    def open(self) -> BufferedIOBase:
        """Return the file with the whole body, at its start."""
        if self._file is None:
            return BytesIO()
        self._file.seek(0)
        return cast("BufferedIOBase", self._file)

    def close(self) -> None:
        """Throw the body away."""
        # What could not be written is tried again by close(), which fails again.
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _keep(self, data: bytes | bytearray | memoryview) -> None:
        self.size += len(data)
        if self.size > self._limit:
            raise BadRequest(413, f"the request body is longer than {self._limit} bytes")
        if self.sink is not None:
            self.sink(data)
            return
        if self._file is None:
            self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        try:
            self._file.write(data)
            self._file.flush()  # else it would fail later, where nobody expects it
        except OSError as error:
            # No descriptor for the temporary file, or no room in it.
            _shortage.failed(error)
            raise BadRequest(503, "the body cannot be kept at the moment") from error


class SizedBody(RequestBody):
    """A body of the length that Content-Length gave."""

    def __init__(self, length: int) -> None:
        """Make a body that is whole when it has `length` bytes."""
        super().__init__(length)
        self._left = length

    def feed(self, data: bytes | bytearray) -> bytes | None:
        """See `RequestBody.feed`."""
        taken = min(self._left, len(data))
        self._keep(data if taken == len(data) else data[:taken])
        self._left -= taken
        return None if self._left else bytes(data[taken:])


class _Part(Enum):
    """What the next bytes of a chunked body are: RFC 9112 section 7.1.

    SIZE --> DATA --> DATA_END --+        SIZE --0--> TRAILER --empty line--> WHOLE
     ^---------------------------+
    """

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    WHOLE = auto()


class ChunkedBody(RequestBody):
    """A body in chunks."""

    def __init__(self, limit: int) -> None:
        """Make a body of unknown length, at most `limit` bytes."""
        super().__init__(limit)
        self._part = _Part.SIZE
        self._left = 0  # of the chunk
        self._announced = 0  # by all chunks so far
        self._overhead = 0
        self._trailers = 0
        self._line = b""

    def feed(self, data: bytes | bytearray) -> bytes | None:
        """See `RequestBody.feed`."""
        at = 0
        view = memoryview(data)
        pieces: list[memoryview] = []
        while self._part is not _Part.WHOLE and at < len(data):
            if self._part is _Part.DATA:
                end = min(at + self._left, len(data))
                pieces.append(view[at:end])
                self._left -= end - at
                if not self._left:
                    self._part = _Part.DATA_END
                at = end
            else:
                if self._part is _Part.SIZE and not self._line:
                    at = self._take_chunks(data, at, pieces)
                at = self._take_line(data, at)
        if pieces:
            # Together, since a chunk may be as small as a byte.
            self._keep(b"".join(pieces))
        return bytes(view[at:]) if self._part is _Part.WHOLE else None

    def _take_chunks(self, data: bytes | bytearray, at: int, pieces: list[memoryview]) -> int:
        """Take the chunks that have come whole: what could be done line by line, but quicker."""
        view = memoryview(data)
        while line := _SIZE_LINE.match(data, at):
            begin = line.end()
            size = int(line[1], 16)
            end = begin + size
            if not size or data[end : end + 2] != b"\r\n" or begin - at > _MAX_LINE:
                break
            self._announce(size, begin - at)
            pieces.append(view[begin:end])
            at = end + 2
        return at

    def _take_line(self, data: bytes | bytearray, at: int) -> int:
        """Collect a line; act on it when its LF is there. It never grows beyond the limit."""
        line_feed = data.find(b"\n", at, at + _MAX_LINE)
        end = line_feed + 1 if line_feed >= 0 else min(len(data), at + _MAX_LINE)
        self._line += data[at:end]
        if len(self._line) > _MAX_LINE:
            raise BadRequest(400, "a line of the chunked body is too long")
        if line_feed >= 0:
            line, self._line = self._line, b""
            self._on_line(line)
        elif self._part is _Part.DATA_END and self._line != b"\r":
            raise BadRequest(400, "a chunk is longer than its size says")
        return end

    def _on_line(self, line: bytes) -> None:
        if line[-2:] != b"\r\n" or line[:-2].translate(None, NOT_CONTROL):
            raise BadRequest(400, "a line of the chunked body is malformed")
        if self._part is _Part.SIZE:
            self._on_size(line)
        elif self._part is _Part.DATA_END:
            if line != b"\r\n":
                raise BadRequest(400, "a chunk is longer than its size says")
            self._part = _Part.SIZE
        elif line != b"\r\n":
            self._on_trailer(line[:-2])
        else:
            self._part = _Part.WHOLE

    def _on_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "the size of a chunk is malformed")
        self._left = int(match[1], 16)
        self._announce(self._left, len(line))
        self._part = _Part.DATA if self._left else _Part.TRAILER

    def _announce(self, size: int, length: int) -> None:
        """Count a chunk of `size` bytes, whose size took a line of `length` bytes."""
        self._announced += size
        if self._announced > self._limit:
            raise BadRequest(413, f"the request body is longer than {self._limit} bytes")
        # Extensions could make a small body a very long one: many bytes for one of data.
        self._overhead += length - _CHUNK_OVERHEAD - 2 * size
        if self._overhead > _MAX_OVERHEAD:
            raise BadRequest(400, "the chunked body has more extensions than data")

    def _on_trailer(self, line: bytes) -> None:
        """Check a trailer field, and forget it: RFC 9112 section 7.1.2."""
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILERS:
            raise BadRequest(431, "the trailer fields are too long")
        name, colon, _ = line.decode("latin-1").partition(":")
        if not colon or not is_token(name):
            raise BadRequest(400, "a trailer field is malformed")
        if name.lower() in _NOT_IN_TRAILERS:
            raise BadRequest(400, f"the field {name} must not be sent as a trailer")


def body_of(head: RequestHead, limit: int) -> RequestBody | None:
    """Return the still empty body that `head` announces, or None for none.

    Raises:
        BadRequest: 400 for ambiguous framing, 413 for more than `limit` bytes, 501 for other
            transfer codings besides ``chunked``.
    """
    coding = head.get("transfer-encoding")
    length = head.get("content-length")
    if coding is not None:
        if length is not None:
            raise BadRequest(400, "Content-Length and Transfer-Encoding exclude each other")
        if head.version == "1.0":
            raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != "chunked":
            raise _unknown_coding(head)
        return ChunkedBody(limit)
    if length is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise BadRequest(400, "Content-Length is not a number, or too large a one")
    size = int(length)
    if size > limit:
        raise BadRequest(413, f"the request body is longer than {limit} bytes")
    return SizedBody(size) if size else None


def _unknown_coding(head: RequestHead) -> BadRequest:
    """Return what is wrong with the transfer codings: RFC 9112 sections 6.1 and 6.3."""
    codings = [coding.lower() for coding in head.members("transfer-encoding")]
    if codings[-1:] != ["chunked"]:
        # Where such a body ends nobody can know.
        return BadRequest(400, "the last transfer coding must be chunked")
    return BadRequest(501, "the only transfer coding of this server is chunked")


def waits_for_continue(head: RequestHead) -> bool:
    """Say whether the client wants to be told to send its body: RFC 9110 section 10.1.1.

    Raises:
        BadRequest: 417 for other expectations, 411 for a body of unknown length.
    """
    expectation = head.get("expect")
    if expectation is None or head.version == "1.0":
        return False
    if expectation.lower() != "100-continue":
        raise BadRequest(417, "the only expectation that can be met is 100-continue")
    if head.get("content-length") is None and head.get("transfer-encoding") is None:
        raise BadRequest(411, "a body is announced, but not how long it is")
    return True
