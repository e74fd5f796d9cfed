"""`OpenFile`: a regular file on its way to a client, with what HTTP wants to know about it."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final

from handy_ws.http.conditional import Validators
from handy_ws.http.encodings import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["OpenFile"]

_BLOCK: Final = 64 * 1024
_SECOND: Final = 10**9  # in nanoseconds


class OpenFile:
    """An open regular file; iterating over it yields the bytes of its `part`.

    Attributes:
        coding: what its bytes are encoded with, or `IDENTITY`.
        length: how many bytes it had when it was opened.
        modified: when it was modified last before that, in nanoseconds since 1970.
        part: which of its bytes are meant; all of them at first.
        validators: what its state is told by.
    """

    def __init__(self, descriptor: int, status: os.stat_result, coding: str) -> None:
        """Take over the descriptor of a regular file."""
        self._file = open(descriptor, "rb", buffering=0)  # noqa: SIM115 - close() does
        self.coding = coding
        self.length = status.st_size
        self.modified = status.st_mtime_ns
        self.part = range(self.length)
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        # Each coding has a tag of its own: RFC 9110 section 8.8.3.3.
        etag += "" if coding == IDENTITY else f"-{coding}"
        # A date in the future must not be sent, section 8.8.2.1; one before 1970 nobody expects.
        seconds = max(0, min(self.modified // _SECOND, int(time.time())))
        self.validators = Validators(etag, seconds)

    @classmethod
    def open(cls, name: str, coding: str = IDENTITY) -> Self | None:
        """Open a regular file; None for anything else, without waiting for the far end of a pipe.

        Raises:
            OSError: it cannot be opened; it is a symbolic link, for example.
        """
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return cls(descriptor, status, coding)
        os.close(descriptor)
        return None

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self.part.start)
        left = len(self.part)
        # A file that has shrunk ends early. The response is then known to lack something.
        while left and (block := self._file.read(min(left, _BLOCK))):
            left -= len(block)
            yield block

    def close(self) -> None:
        """Close it; twice is harmless."""
        self._file.close()
