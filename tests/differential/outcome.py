"""What becomes of a stream of bytes that a client sends: what both sides are compared by.

Messages and pongs are two lists because their order on the wire is no promise: a pong is owed at
once, the echo of a message comes when the program has run.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

TEXT_KIND = "text"
BINARY_KIND = "binary"

NO_STATUS = 1005  # stands for a CLOSE frame with an empty body
PROTOCOL_ERROR = 1002
INVALID_PAYLOAD = 1007
MESSAGE_TOO_BIG = 1009

Message = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Close:
    """The CLOSE frame that the server sends.

    ``reason`` is None where a server may choose it: in the answer to an error. ``or_code`` is the
    other code that would do, if there are two errors of which neither is the first.
    """

    code: int
    reason: bytes | None = None
    or_code: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server makes of a stream.

    ``close`` is None if the stream just ended: nobody said why, so nobody is answered.
    ``fault`` tells what is wrong with the server's own bytes; a reference has none. ``compressed``
    is the number of messages that the server has sent compressed, which is up to it.
    """

    messages: tuple[Message, ...] = ()
    pongs: tuple[bytes, ...] = ()
    close: Close | None = None
    fault: str = ""
    compressed: int = 0

    def describe(self) -> str:
        """Return it for people, a line for each item."""
        lines = [f"{kind} {_shortened(payload)}" for kind, payload in self.messages]
        lines += [f"pong {_shortened(payload)}" for payload in self.pongs]
        lines.append("no CLOSE" if self.close is None else str(self.close))
        if self.fault:
            lines.append(f"FAULT: {self.fault}")
        return "\n".join(f"    {line}" for line in lines)


def agree(ours: Outcome, expected: Outcome) -> bool:
    """Whether an outcome is the one that is expected."""
    return (
        not ours.fault
        and ours.messages == expected.messages
        and ours.pongs == expected.pongs
        and _same_close(ours.close, expected.close)
    )


def _same_close(ours: Close | None, expected: Close | None) -> bool:
    if ours is None or expected is None:
        return ours is expected
    codes = (expected.code, expected.or_code)
    return ours.code in codes and expected.reason in (None, ours.reason)


def _shortened(payload: bytes) -> str:
    if len(payload) <= 200:
        return repr(payload)
    return f"{payload[:100]!r}... ({len(payload)} bytes, crc {zlib.crc32(payload):08x})"
