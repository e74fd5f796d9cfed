"""Endings that the client brings about, politely or not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from handy_ws import CloseCause

from tests.faults.endings.ending import ABNORMAL, NO_STATUS, Ending, Plan, Visitor, check
from tests.websocket.raw_websocket import BINARY, CLOSE, PING, TEXT, close_payload, frame

if TYPE_CHECKING:
    from tests.faults.loop import Task
    from tests.faults.stream import Stream

PING_INTERVAL, PING_TIMEOUT = 1.0, 8.0
LONG_PAUSE = 18.0

PEER = frozenset({CloseCause.PEER})
NETWORK_ERROR = frozenset({CloseCause.NETWORK_ERROR})


def close_frame(plan: Plan) -> bytes:
    return frame(CLOSE, close_payload(plan.code, plan.reason))


class Closes(Ending):
    """The client closes with a code and a reason, and gets them back."""

    weight = 3.0
    causes = PEER

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)
        yield from visitor.read_end()


class ClosesWithoutCode(Ending):
    """The client's CLOSE is empty, and so is the answer."""

    causes = PEER

    def codes(self, plan: Plan) -> set[int]:
        return {NO_STATUS}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(frame(CLOSE))
        code = yield from visitor.read_close()
        check(code == NO_STATUS, "code", code)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)
        yield from visitor.read_end()


class ClosesByteByByte(Closes):
    """Every byte of the CLOSE comes in a segment of its own."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        closing = close_frame(plan)
        for index in range(len(closing)):
            yield from visitor.close(closing[index : index + 1])
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        yield from visitor.read_end()


class ClosesAndTalksOn(Closes):
    """What comes behind a CLOSE is ignored, whatever it is."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        behind = plan.choose([frame(TEXT, b"late"), b"\xff" * 50, close_frame(plan), frame(PING)])
        yield from visitor.close(close_frame(plan) + behind)
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        # Unread bytes make a reset of the server's end, but not before the CLOSE was read.
        visitor.stream.close()


class ClosesAndHalfCloses(Closes):
    """The client's FIN comes right behind its CLOSE: it is owed the rest all the same."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        visitor.stream.half_close()
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)
        yield from visitor.read_end()


class ClosesAndResets(Ending):
    """A reset comes behind the client's CLOSE.

    If a broadcast to the client meets the reset before the CLOSE was read, that is all that the
    server sees.
    """

    causes = PEER | NETWORK_ERROR
    complete = False

    def codes(self, plan: Plan) -> set[int]:
        return {plan.code, ABNORMAL}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        visitor.stream.reset()


class _Abrupt(Ending):
    causes = NETWORK_ERROR

    def codes(self, plan: Plan) -> set[int]:
        return {ABNORMAL}


class Resets(_Abrupt):
    """A reset comes behind any byte of the client's messages."""

    weight = 2.0
    complete = False

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        script = _messages()
        yield from visitor.stream.send(script[: int(plan.chance * len(script))])
        visitor.stream.reset()


class Leaves(_Abrupt):
    """The client's FIN comes behind any byte of its messages, and it reads on."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        script = _messages()
        yield from visitor.stream.send(script[: int(plan.chance * len(script))])
        visitor.stream.half_close()
        yield from visitor.stream.read_end()


class LeavesForGood(_Abrupt):
    """The client's process has closed the socket: the first broadcast is answered by a reset."""

    complete = False

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        visitor.stream.close()


class ResetsHandshake(_Abrupt):
    """A reset comes behind any byte of the handshake, or with its last one."""

    established = None
    complete = False

    def open(self, stream: Stream, address: tuple[str, int], plan: Plan) -> Task[bool]:
        yield from stream.connect(address)
        head = self.head(plan)
        # The last byte is where it becomes interesting.
        cut = len(head) if plan.other_chance < 0.5 else int(plan.chance * len(head))
        yield from stream.send(head[:cut])
        stream.reset()
        return False


class LeavesHandshake(_Abrupt):
    """The client leaves with the handshake, and what it says behind it came with it."""

    complete = False
    established = None

    def open(self, stream: Stream, address: tuple[str, int], plan: Plan) -> Task[bool]:
        yield from stream.connect(address)
        yield from stream.send(self.head(plan) + frame(TEXT, b"echo 0"))
        stream.half_close()
        yield from stream.read_end()
        return False


class ClosesInHandshake(Ending):
    """The CLOSE comes in one segment with the handshake."""

    causes = PEER

    def open(self, stream: Stream, address: tuple[str, int], plan: Plan) -> Task[bool]:
        yield from stream.connect(address)
        texts = [frame(TEXT, b"echo %d" % number) for number in range(plan.texts)]
        yield from stream.send(self.head(plan) + b"".join(texts) + close_frame(plan))
        yield from stream.read_101()
        return True

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.close(b"")  # that was it
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)
        yield from visitor.read_end()


class _FallsSilent(Ending):
    causes = frozenset({CloseCause.PING_TIMEOUT})

    def codes(self, plan: Plan) -> set[int]:
        return {ABNORMAL}


class FallsSilent(_FallsSilent):
    """The client reads and never answers: it has no chance to say anything behind the reset."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        with contextlib.suppress(ConnectionResetError):
            yield from visitor.stream.read_end()


class FallsAsleep(_FallsSilent):
    """The client does not even read, until long after it was given up."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.stream.pause(LONG_PAUSE)


def _messages() -> bytes:
    """Return frames of many kinds; no text among them is counted."""
    return (
        frame(BINARY, b"x" * 200)
        + frame(BINARY, b"begun", fin=False)
        + frame(PING, b"between")
        + frame(0, b"ended")
        + frame(BINARY, b"y" * 5000)
    )


#: Those that last long.
LONG_ENDINGS: list[Ending] = [FallsSilent(), FallsAsleep()]

ENDINGS: list[Ending] = [
    Closes(),
    ClosesWithoutCode(),
    ClosesByteByByte(),
    ClosesAndTalksOn(),
    ClosesAndHalfCloses(),
    ClosesAndResets(),
    Resets(),
    Leaves(),
    LeavesForGood(),
    ResetsHandshake(),
    LeavesHandshake(),
    ClosesInHandshake(),
]
