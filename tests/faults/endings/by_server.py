"""Endings that the server brings about: it closes, raises, or loses patience."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from handy_ws import CloseCause, CloseCode

from tests.faults.endings.by_client import close_frame
from tests.faults.endings.ending import (
    Deliberate,
    Desk,
    Ending,
    Plan,
    Visitor,
    check,
)
from tests.websocket.raw_websocket import BINARY, CLOSE, PING, TEXT, close_payload, frame

if TYPE_CHECKING:
    from handy_ws import WebSocketConnection

    from tests.faults.loop import Task

LOCAL = frozenset({CloseCause.LOCAL})
HANDLER_ERROR = frozenset({CloseCause.HANDLER_ERROR})
SLOW_CONSUMER = frozenset({CloseCause.SLOW_CONSUMER})
#: Of a client that never reads: the kernel keeps little for it.
TINY = 4096


class _Asked(Ending):
    """The client asks for it, and leaves as it should."""

    causes = LOCAL

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        yield from visitor.read_close_and_leave(*self.codes(plan))
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)


class IsClosedInText(_Asked):
    """`close` in the callback of a text."""

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        connection.close(plan.code, plan.reason)


class IsClosedTwice(_Asked):
    """Only the first `close` counts, and an exception behind it changes nothing."""

    raises = 1

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        connection.close(plan.code, plan.reason)
        connection.close(plan.other_code)
        raise Deliberate


class IsClosedAtOnce(Ending):
    """`close` in `on_connection_established`: no message is delivered."""

    causes = LOCAL
    complete = False

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.read_close_and_leave(plan.code)

    def on_established(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        connection.close(plan.code, plan.reason)


class IsClosedWhileItCloses(Ending):
    """`close` in `on_close_message` comes too late: the client's code stands."""

    causes = frozenset({CloseCause.PEER})

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        code = yield from visitor.read_close()
        check(code in {plan.code, plan.other_code}, "code", code)
        yield from visitor.read_end()

    def on_close(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        connection.close(plan.other_code)


class IsClosedByThread(_Asked):
    """`close` in another thread."""

    weight = 2.0

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        desk.submit(connection.close, plan.code, plan.reason)


class IsClosedByThreads(_Asked):
    """`close` in three threads at once, while a fourth sends."""

    weight = 2.0

    def codes(self, plan: Plan) -> set[int]:
        return {plan.code, plan.other_code, 1000}

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        def send() -> None:
            for _ in range(1000):
                connection.send_text("flood")

        desk.submit(send)
        for code in (plan.code, plan.other_code, 1000):
            desk.submit(connection.close, code)


class BothClose(_Asked):
    """Both sides close at once; either may be first."""

    causes = LOCAL | {CloseCause.PEER}

    def codes(self, plan: Plan) -> set[int]:
        return {plan.code, plan.other_code}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        if plan.chance < 0.7:
            yield from visitor.stream.pause(plan.other_chance * 0.003)
        yield from visitor.close(close_frame(plan))
        code = yield from visitor.read_close()
        check(code in self.codes(plan), "code", code)
        yield from visitor.read_end()

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        desk.submit(connection.close, plan.other_code)


class IsClosedAndResets(_Asked):
    """The client answers the CLOSE with a reset."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        visitor.stream.reset()

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        desk.submit(connection.close, plan.code, plan.reason)


class NeverAnswers(_Asked):
    """The client ignores the CLOSE, silently or not, until the server hangs up."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        if plan.other_chance < 0.5:
            yield from visitor.stream.send(frame(BINARY, b"late") * 10 + frame(PING))
        with contextlib.suppress(ConnectionResetError):
            yield from visitor.read_end()

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        if plan.chance < 0.5:
            connection.close(plan.code)
        else:
            desk.submit(connection.close, plan.code)


class RaisesInEstablished(Ending):
    """The first callback raises: the client is closed at once."""

    causes = HANDLER_ERROR
    complete = False
    raises = 1

    def codes(self, plan: Plan) -> set[int]:
        return {CloseCode.INTERNAL_ERROR}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.read_close_and_leave(CloseCode.INTERNAL_ERROR)

    def on_established(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        raise Deliberate


class RaisesInMessage(_Asked):
    """The callback of a message raises."""

    causes = HANDLER_ERROR
    raises = 1

    def codes(self, plan: Plan) -> set[int]:
        return {CloseCode.INTERNAL_ERROR}

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        opcode = plan.choose([TEXT, BINARY])
        # What comes behind it is lost with the connection.
        yield from visitor.stream.send(frame(opcode, b"do") + frame(TEXT, b"late"))
        yield from visitor.read_close_and_leave(CloseCode.INTERNAL_ERROR)
        check(visitor.echoes == plan.texts, "echoes", visitor.echoes)

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        raise Deliberate


class RaisesInClose(Ending):
    """`on_close_message` raises: the client has closed already."""

    causes = frozenset({CloseCause.PEER})
    raises = 1

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        code = yield from visitor.read_close()
        check(code in {plan.code, CloseCode.INTERNAL_ERROR}, "code", code)
        yield from visitor.read_end()

    def on_close(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        raise Deliberate


class RaisesInClosed(Ending):
    """`on_connection_closed` raises, which changes nothing any more."""

    causes = frozenset({CloseCause.PEER})
    raises = 1

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.close(close_frame(plan))
        code = yield from visitor.read_close()
        check(code == plan.code, "code", code)
        yield from visitor.read_end()

    def on_closed(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        raise Deliberate


class _Slow(_Asked):
    causes = SLOW_CONSUMER
    receive_buffer = TINY

    def codes(self, plan: Plan) -> set[int]:
        return {CloseCode.POLICY_VIOLATION}


class IsFloodedInCallback(_Slow):
    """A callback fills the queue; the client answers the CLOSE, resets, or stalls behind it."""

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        code = yield from visitor.read_close()
        check(code == CloseCode.POLICY_VIOLATION, "code", code)
        if plan.chance < 0.4:
            yield from visitor.stream.send(frame(CLOSE, close_payload(code)))
            yield from visitor.read_end()
        elif plan.chance < 0.7:
            visitor.stream.reset()
        else:
            yield from visitor.stall()

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        desk.flood(connection)


class IsFloodedByThread(_Slow):
    """Another thread sends faster than the client reads, be it asleep or awake."""

    weight = 0.5

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        yield from visitor.send_texts()
        yield from visitor.do()
        yield from visitor.stream.pause(plan.chance * 0.5)
        yield from visitor.read_close_and_leave(CloseCode.POLICY_VIOLATION)

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        desk.submit(desk.flood, connection)


class NeverReadsPongs(_Slow):
    """The client pings and pings, and reads nothing."""

    weight = 0.05
    complete = False

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        pings = frame(PING, b"x" * 125) * 500
        try:
            while True:
                yield from visitor.stream.send(pings)
                yield from visitor.stream.pause(0.01)
        except (ConnectionResetError, BrokenPipeError):
            pass


ENDINGS: list[Ending] = [
    IsClosedInText(),
    IsClosedTwice(),
    IsClosedAtOnce(),
    IsClosedWhileItCloses(),
    IsClosedByThread(),
    IsClosedByThreads(),
    BothClose(),
    IsClosedAndResets(),
    NeverAnswers(),
    RaisesInEstablished(),
    RaisesInMessage(),
    RaisesInClose(),
    RaisesInClosed(),
    IsFloodedInCallback(),
    IsFloodedByThread(),
    NeverReadsPongs(),
]
