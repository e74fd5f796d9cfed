"""What becomes of the bytes that a client sends: what the sides are compared by."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

Field = tuple[bytes, bytes]
"""A name in lower case, and a value without outer white space."""

#: All that a request which is not understood may be answered with.
REFUSALS: Final = frozenset({400, 411, 413, 414, 417, 431, 501, 505})


class End(Enum):
    """How the bytes end."""

    COMPLETE = "complete"  # with a request, and the connection would have served another one
    CLOSED = "closed"  # they may go on, but it was the last request of its connection
    INCOMPLETE = "incomplete"  # inside of a request
    REFUSED = "refused"  # nothing is read behind what is wrong


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is handed to the program."""

    method: bytes
    target: bytes
    version: bytes  # 1.1 or 1.0
    fields: tuple[Field, ...]
    body: bytes

    def __str__(self) -> str:
        """Return it in a line."""
        start = b" ".join((self.method, self.target, self.version))
        fields = b", ".join(name + b"=" + value for name, value in self.fields)
        return f"{_shortened(start)} {_shortened(fields)} {_shortened(self.body)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reader makes of a stream."""

    requests: tuple[Request, ...]
    end: End
    status: int = 0  # of the refusal

    def describe(self) -> str:
        """Return it for people, a line for each item."""
        last = f"{self.end.value} {self.status or ''}"
        return "\n".join(f"    {item}" for item in (*self.requests, last))


@dataclass(frozen=True, slots=True)
class Expected:
    """What may become of a stream: these requests, and then one of some ends."""

    requests: tuple[Request, ...]
    ends: frozenset[End]
    statuses: frozenset[int] = frozenset()  # of a refusal
    # Method and target of one that follows and is not handed out, if they are known.
    begun: tuple[bytes, bytes] | None = None

    def allows(self, outcome: Outcome) -> bool:
        """Whether an outcome is one of those that are expected."""
        return (
            outcome.requests == self.requests
            and outcome.end in self.ends
            and (outcome.end is not End.REFUSED or outcome.status in self.statuses)
        )

    def describe(self) -> str:
        """Return it for people, a line for each item."""
        last = " or ".join(sorted(end.value for end in self.ends))
        if self.statuses:
            last += f", with one of {sorted(self.statuses)}"
        return "\n".join(f"    {item}" for item in (*self.requests, last))


def exactly(outcome: Outcome) -> Expected:
    """Return the expectation that only this outcome meets."""
    return Expected(outcome.requests, frozenset({outcome.end}), frozenset({outcome.status}))


def _shortened(data: bytes) -> str:
    if len(data) <= 200:
        return repr(data)
    return f"{data[:100]!r}... ({len(data)} bytes, crc {zlib.crc32(data):08x})"
