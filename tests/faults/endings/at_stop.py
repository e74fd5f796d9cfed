"""Endings by the server's stop: the connections that are there when it comes.

They are opened first and are the load under which all others end: they talk all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handy_ws import CloseCause, CloseCode

from tests.faults.endings.ending import Ending, Plan, Visitor, check
from tests.websocket.raw_websocket import CLOSE, TEXT, frame

if TYPE_CHECKING:
    from tests.faults.loop import Task


class _Stays(Ending):
    causes = frozenset({CloseCause.SERVER_STOP})
    complete = False

    def codes(self, plan: Plan) -> set[int]:
        return {CloseCode.GOING_AWAY}


class StaysAndTalks(_Stays):
    """The client talks until the server's CLOSE comes, and answers it."""

    weight = 6.0

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        stream = visitor.stream
        sent = 0
        while True:
            yield from stream.send(frame(TEXT, b"echo %d" % sent))
            sent += 1
            while visitor.echoes < sent:
                if visitor.take((yield from stream.read_frame())) is not None:
                    yield from stream.send(frame(CLOSE, b"\x03\xe9"))
                    yield from visitor.read_end()
                    return
            yield from stream.pause(0.02)


class StaysAndAnswers(_Stays):
    """The client only listens, and answers the CLOSE."""

    weight = 2.0

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.read_close_and_leave(CloseCode.GOING_AWAY)


class StaysAndIgnores(_Stays):
    """The client does not answer the CLOSE."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        code = yield from visitor.read_close()
        check(code == CloseCode.GOING_AWAY, "code", code)
        yield from visitor.read_end()


class StaysAndStalls(_Stays):
    """The client does not even read."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.stall()


class StaysAndResets(_Stays):
    """The client answers the CLOSE with a reset."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        code = yield from visitor.read_close()
        check(code == CloseCode.GOING_AWAY, "code", code)
        visitor.stream.reset()


ENDINGS: list[Ending] = [
    StaysAndTalks(),
    StaysAndAnswers(),
    StaysAndIgnores(),
    StaysAndStalls(),
    StaysAndResets(),
]
