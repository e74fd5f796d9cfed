"""Endings that the client brings about by breaking the protocol or a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handy_ws import CloseCause, CloseCode

from tests.faults.endings.ending import Ending, Plan, Visitor, check
from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    close_payload,
    frame,
)

if TYPE_CHECKING:
    from tests.faults.loop import Task

MAX_MESSAGE_SIZE = 64 * 1024
MAX_FRAGMENTS = 64
MAX_MESSAGE_RATE = 200


class _Fault(Ending):
    """The client sends something bad, and does one of several things behind it."""

    causes = frozenset({CloseCause.PROTOCOL_ERROR})
    code: CloseCode
    variants: tuple[bytes, ...]

    def codes(self, plan: Plan) -> set[int]:
        return {self.code}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        code = yield from self.send_fault(visitor, plan)
        check(code == self.code, "code", code)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)
        after = plan.choose_other([self._answer, self._leave, self._talk_on, self._reset])
        yield from after(visitor)

    def send_fault(self, visitor: Visitor, plan: Plan) -> Task[int]:
        """Do it, and return the code of the CLOSE."""
        yield from visitor.stream.send(plan.choose(self.variants))
        return (yield from visitor.read_close())

    def _answer(self, visitor: Visitor) -> Task[None]:
        yield from visitor.stream.send(frame(CLOSE, close_payload(self.code)))
        yield from visitor.read_end()

    def _leave(self, visitor: Visitor) -> Task[None]:
        yield from visitor.read_end()
        visitor.stream.close()

    def _talk_on(self, visitor: Visitor) -> Task[None]:
        yield from visitor.stream.send(frame(TEXT, b"late") * 100)
        yield from visitor.read_end()

    def _reset(self, visitor: Visitor) -> Task[None]:
        visitor.stream.reset()
        yield from ()


class BreaksProtocol(_Fault):
    """The frames break RFC 6455."""

    weight = 3.0
    code = CloseCode.PROTOCOL_ERROR
    variants = (
        frame(TEXT, b"bad", rsv=1),
        frame(TEXT, b"bad", rsv=7),
        frame(TEXT, b"bad", mask=False),
        frame(3, b"bad"),
        frame(11, b"bad"),
        frame(CONTINUATION, b"of nothing"),
        frame(TEXT, b"begun", fin=False) + frame(TEXT, b"another"),
        frame(PING, b"in fragments", fin=False),
        frame(PING, b"x" * 126),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, close_payload(1005)),
        frame(CLOSE, close_payload(999)),
        b"\x82\xfe\x00\x05" + b"\x00" * 9,  # a length in a longer form than it needs
        b"\x82\xff" + b"\xff" * 12,  # a length of more than 63 bits
    )


class SendsBadText(_Fault):
    """The text is no UTF-8."""

    code = CloseCode.INVALID_PAYLOAD
    variants = (
        frame(TEXT, b"bad \xff text"),
        frame(TEXT, b"\xc3"),
        frame(TEXT, b"\xed\xa0\x80"),
        frame(TEXT, b"good so far", fin=False) + frame(CONTINUATION, b"\xf8"),
        frame(TEXT, b"x" * 5000 + b"\xf0\x9f", fin=False) + frame(CONTINUATION, b"x"),
        frame(CLOSE, b"\x03\xe8bad reason \xff"),
    )


class SendsTooMuch(_Fault):
    """The message is too long, which shows in a header."""

    code = CloseCode.MESSAGE_TOO_BIG
    variants = (
        frame(BINARY, b"x" * (MAX_MESSAGE_SIZE + 1)),
        frame(BINARY, b"x" * MAX_MESSAGE_SIZE, fin=False) + frame(CONTINUATION, b"x"),
        b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\x00" * 4,
    )


class SendsTooManyFragments(_Fault):
    """The message comes in too many frames."""

    code = CloseCode.POLICY_VIOLATION
    variants = (
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * MAX_FRAGMENTS,
        frame(TEXT, fin=False) + frame(CONTINUATION, b"x", fin=False) * MAX_FRAGMENTS,
    )


class SendsTooFast(_Fault):
    """Messages come as fast as the server reads them, which is more than it allows in a second."""

    code = CloseCode.POLICY_VIOLATION
    variants = (frame(BINARY, b"x") * 50, frame(BINARY, b"x" * 1000) * 50)

    def send_fault(self, visitor: Visitor, plan: Plan) -> Task[int]:
        while True:
            yield from visitor.stream.send(plan.choose(self.variants))
            visitor.stream.receive()
            for received in visitor.stream.frames():
                code = visitor.take(received)
                if code is not None:
                    return code
            yield from visitor.stream.pause(0.001)


ENDINGS: list[Ending] = [
    BreaksProtocol(),
    SendsBadText(),
    SendsTooMuch(),
    SendsTooManyFragments(),
    SendsTooFast(),
]
