"""The bytes of one request, taken apart with regular expressions that know nothing of handy_ws.

They are as lenient as h11 is: what it takes for a line, a field or a chunk is one here, too, so
that `differences.py` can say what is wrong with it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

_HEAD_END = re.compile(rb"\n\r?\n")
_DIGITS = re.compile(rb"[0-9A-Fa-f]+")
_SPACE = re.compile(rb"\A([0-9A-Fa-f]+)[ \t]+;")


@dataclass
class Chunks:
    """A chunked body, as far as it has come and can be followed."""

    lines: list[bytes] = field(default_factory=list)  # those with the sizes, without their CRLF
    begins: list[int] = field(default_factory=list)  # where they are
    is_cut: bool = False  # the last of them has no CRLF yet
    size: int = 0  # of all chunks that are announced, in bytes
    trailers: bytes = b""  # up to and with the empty line, or as far as they have come


@dataclass(frozen=True)
class Message:
    """A request, and all bytes that come behind it."""

    data: bytes

    @functools.cached_property
    def head(self) -> bytes:
        """The head up to and with the empty line, or as much of it as there is."""
        found = _HEAD_END.search(self.data)
        return self.data[: found.end()] if found else self.data

    @functools.cached_property
    def start(self) -> list[bytes]:
        """The parts of the request line."""
        return self.head.partition(b"\n")[0].removesuffix(b"\r").split(b" ")

    @property
    def method(self) -> bytes:
        return self.start[0]

    @property
    def target(self) -> bytes:
        return self.start[1] if len(self.start) > 1 else b""

    @property
    def version(self) -> bytes:
        return self.start[-1]

    @functools.cached_property
    def lines(self) -> list[bytes]:
        """The lines of the head behind the first one, without their ends."""
        lines = [line.removesuffix(b"\r") for line in self.head.split(b"\n")[1:]]
        return [line for line in lines if line]

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields with this name (lower case)."""
        pairs = (line.partition(b":") for line in self.lines)
        return [value.strip() for key, _, value in pairs if key.lower() == name]

    @functools.cached_property
    def authority(self) -> bytes | None:
        """What stands between ``http://`` and the path in the target, if it is of that form."""
        found = re.match(rb"(?i:https?)://([^/?#]*)", self.target)
        return found[1] if found else None

    @functools.cached_property
    def chunks(self) -> Chunks | None:
        """The body, if it is chunked."""
        coding = [value.lower() for value in self.values(b"transfer-encoding")]
        return _follow(self.data, len(self.head)) if coding == [b"chunked"] else None

    def without_space_behind_sizes(self) -> bytes:
        """Return the data without white space between the size of a chunk and the semicolon."""
        if self.chunks is None:
            return self.data
        data, at, pieces = self.data, 0, []
        for begin, line in zip(self.chunks.begins, self.chunks.lines, strict=True):
            pieces += [data[at:begin], _SPACE.sub(rb"\1;", line)]
            at = begin + len(line)
        return b"".join(pieces) + data[at:]


def _follow(data: bytes, at: int) -> Chunks:
    chunks = Chunks()
    while True:
        end = data.find(b"\r\n", at)
        chunks.is_cut = end < 0
        chunks.begins.append(at)
        chunks.lines.append(data[at:] if chunks.is_cut else data[at:end])
        digits = _DIGITS.match(chunks.lines[-1])
        if chunks.is_cut or digits is None:
            return chunks
        size = int(digits[0], 16)
        if not size:
            chunks.trailers = _trailers(data, end + 2)
            return chunks
        chunks.size += size
        at = end + 2 + size + 2
        if data[at - 2 : at] != b"\r\n":
            return chunks


def _trailers(data: bytes, at: int) -> bytes:
    # There may be none, and then the empty line is the first one.
    found = re.compile(rb"\r?\n").match(data, at) or _HEAD_END.search(data, at)
    return data[at : found.end()] if found else data[at:]
