"""What an ending is: what the client does, what the server does, and what must come of it.

The two run in processes of their own and agree by a connection's path, ``/NUMBER/NAME``: the name
of the ending, and the number from which its `Plan` follows, the same on both sides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from handy_ws import CloseCause, ConnectionClosed, SendResult, WebSocketConnection

from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame,
    request_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from tests.faults.loop import Task
    from tests.faults.stream import Stream
    from tests.websocket.raw_websocket import Frame

T = TypeVar("T")

#: Tells the server to do its part of the ending. Any other text is sent back.
DO = "do"
NO_STATUS, ABNORMAL = 1005, 1006
_CODES = [1000, 1001, 1003, 1008, 1011, *range(3000, 5000, 37)]


class Surprise(Exception):  # noqa: N818 - it is what a client says
    """The client has seen something that should not be."""


class Deliberate(Exception):  # noqa: N818 - it is none
    """What callbacks raise here."""


def check(truth: object, *facts: object) -> None:
    """Raise `Surprise` with the facts, unless it is true."""
    if not truth:
        raise Surprise(*facts)


@dataclass(frozen=True)
class Plan:
    """What is left to chance in an ending."""

    number: int
    texts: int
    """Texts that the client sends first, each of which is sent back."""
    reads_first: bool
    """Whether it waits until they are back before it goes on."""
    code: int
    other_code: int
    reason: str
    chance: float
    """From 0 to 1: which variant to take, or where to cut."""
    other_chance: float

    @classmethod
    def of(cls, seed: int, number: int) -> Plan:
        """Draw the plan of this number."""
        rng = random.Random(seed << 32 | number)
        code, other_code = rng.sample(_CODES, 2)
        reason = rng.choice(["", "bye", "ende gut, alles gut: ü€😀", "x" * 123])
        return cls(
            number,
            rng.randrange(4),
            rng.random() < 0.5,
            code,
            other_code,
            reason,
            rng.random(),
            rng.random(),
        )

    def choose(self, variants: Sequence[T]) -> T:
        """Choose one of the variants."""
        return variants[int(self.chance * len(variants))]

    def choose_other(self, variants: Sequence[T]) -> T:
        """Choose one of other variants, independently."""
        return variants[int(self.other_chance * len(variants))]


class Visitor:
    """A client: its stream, and what it has seen, in which all is in order."""

    def __init__(self, stream: Stream, plan: Plan) -> None:
        self.stream = stream
        self.plan = plan
        #: The number of the next text of each kind.
        self._next = {"echo": 0, "word": 0, "tick": 0}
        self._is_closing = False

    @property
    def echoes(self) -> int:
        return self._next["echo"]

    def send_texts(self) -> Task[None]:
        """Send the texts of the plan, and wait for them if it says so."""
        texts = [frame(TEXT, b"echo %d" % number) for number in range(self.plan.texts)]
        yield from self.stream.send(b"".join(texts))
        if self.plan.reads_first:
            yield from self.read_echoes()

    def read_echoes(self) -> Task[None]:
        """Read until all texts are back."""
        while self.echoes < self.plan.texts:
            closed = self.take((yield from self.stream.read_frame()))
            check(closed is None, "CLOSE instead of an echo", closed)

    def do(self) -> Task[None]:
        """Ask the server for its part."""
        yield from self.stream.send(frame(TEXT, DO.encode()))

    def close(self, closing: bytes) -> Task[None]:
        """Send a CLOSE frame, or a part of it, and answer no PING any more."""
        self._is_closing = True
        yield from self.stream.send(closing)

    def read_close(self) -> Task[int]:
        """Read to the server's CLOSE, and return its code."""
        while (code := self.take((yield from self.stream.read_frame()))) is None:
            pass
        return code

    def read_close_and_leave(self, *codes: int) -> Task[None]:
        """Read the server's CLOSE, answer it, and read on to the FIN, which comes at once."""
        code = yield from self.read_close()
        check(code in codes, "code", code, codes)
        yield from self.stream.send(
            frame(CLOSE) if code == NO_STATUS else frame(CLOSE, close_payload(code))
        )
        yield from self.read_end()

    def read_end(self) -> Task[None]:
        """Read the server's FIN: nothing comes behind a CLOSE."""
        rest = yield from self.stream.read_end()
        check(rest == b"", "behind the CLOSE", rest[:100])

    def stall(self) -> Task[None]:
        """Read nothing, and see by the server's reset that it has given up."""
        try:
            while True:
                yield from self.stream.send(frame(PING))
                yield from self.stream.pause(0.2)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def take(self, received: Frame) -> int | None:
        """Check a frame, and return the code if it is a CLOSE."""
        kind, _, number = received.payload.partition(b" ")
        if received.first == 0x80 | CLOSE:
            return int.from_bytes(kind[:2], "big") if received.payload else NO_STATUS
        if received.opcode == PING:
            if not self._is_closing:
                # Small, and behind little: a socket that does not take it whole takes nothing.
                self.stream.send_some(frame(PONG, received.payload))
            return None
        if received.opcode == PONG:
            return None
        check(received.first in {0x80 | TEXT, 0x80 | BINARY}, received)
        if kind != b"flood":
            self._expect(kind, int(number))
        return None

    def _expect(self, kind: bytes, number: int) -> None:
        # A broadcast does not begin with this client, but then all of them come.
        if kind == b"tick" and self._next["tick"] == 0:
            self._next["tick"] = number
        check(number == self._next[kind.decode()], kind, number, self._next)
        self._next[kind.decode()] += 1


@dataclass(frozen=True)
class Desk:
    """What the server's part of an ending works with."""

    pool: Executor
    send_queue_limit: int
    failures: list[BaseException] = field(default_factory=list)

    def submit(self, work: Callable[..., object], *arguments: object) -> None:
        """Let another thread do it; it may find the connection closed."""

        def run() -> None:
            try:
                work(*arguments)
            except ConnectionClosed:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test fails
                self.failures.append(error)

        self.pool.submit(run)

    def flood(self, connection: WebSocketConnection) -> None:
        """Send faster than anybody reads, until the queue is full."""
        filling = b"flood " + b"x" * (self.send_queue_limit // 4)
        while connection.send_binary(filling) is not SendResult.DROPPED:
            pass


class Ending:
    """One way to end a connection; subclasses say what is different.

    ``client`` runs when the 101 is there. The other methods are called in the callbacks, behind
    what all connections have in common.
    """

    #: How often this one is chosen, beside the others.
    weight: ClassVar[float] = 1.0
    #: What may have ended the connection. More than one only where two things race.
    causes: ClassVar[frozenset[CloseCause]]
    #: Whether `on_connection_established` must come; None is for a reset that races with it.
    established: ClassVar[bool | None] = True
    #: Whether all that the client has sent must have come.
    complete: ClassVar[bool] = True
    #: Exceptions that the server's part raises.
    raises: ClassVar[int] = 0
    receive_buffer: ClassVar[int | None] = None

    @property
    def name(self) -> str:
        return type(self).__name__

    def codes(self, plan: Plan) -> set[int]:
        """Return what `close_code` may be."""
        return {plan.code}

    def open(self, stream: Stream, address: tuple[str, int], plan: Plan) -> Task[bool]:
        """Open the connection; false if the ending has come before the 101."""
        yield from stream.open(address, self.path(plan))
        return True

    def path(self, plan: Plan) -> str:
        return f"/{plan.number}/{self.name}"

    def head(self, plan: Plan) -> bytes:
        return request_head(self.path(plan))

    def client(self, visitor: Visitor, plan: Plan) -> Task[None]:
        """Do what the client does."""
        raise NotImplementedError

    def on_established(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        """Take the server's part in `on_connection_established`."""

    def on_do(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        """Take the server's part when the client asks for it."""

    def on_close(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        """Take the server's part in `on_close_message`."""

    def on_closed(self, connection: WebSocketConnection, plan: Plan, desk: Desk) -> None:
        """Take the server's part in `on_connection_closed`."""
