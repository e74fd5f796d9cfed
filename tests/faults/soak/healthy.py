"""Healthy clients: they talk, listen, and miss nothing that they should get.

Each sends numbered texts and expects each back, in order; each sees the numbers of the broadcasts
and of what is sent to it alone go up one by one. Whatever else happens is a complaint.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.loop import Loop, Task, Wait
from tests.faults.stream import PATIENCE, Refused, Stream
from tests.websocket.raw_websocket import CLOSE, PING, PONG, TEXT, close_payload, frame

if TYPE_CHECKING:
    import random

    from tests.websocket.raw_websocket import Frame

_GOODBYE = close_payload(4000, "until next time")
#: What is sent to single clients is numbered from here on. The server keeps the number of each: up
#: to 256 CPython has made them all before, and when a thousand clients pass that, blocks grow.
FIRST_WORD = 1000
_SMALL, _LARGE = "x" * 50, "y" * 20_000


@dataclass
class Scene:
    """What all clients of a process share: the loop, and what they have seen."""

    loop: Loop
    address: tuple[str, int]
    rng: random.Random
    is_over: bool = False
    """Everybody is to leave."""
    open: int = 0
    finished: int = 0
    echoes: int = 0
    ticks: int = 0
    words: int = 0
    pong_times: list[float] = field(default_factory=list)
    echo_times: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def take_report(self) -> dict[str, Any]:
        """Return what was seen since the last report."""
        report = {
            "open": self.open,
            "finished": self.finished,
            "echoes": self.echoes,
            "ticks": self.ticks,
            "words": self.words,
            "pong_times": self.pong_times,
            "echo_times": self.echo_times,
            "complaints": self.complaints,
        }
        self.pong_times, self.echo_times, self.complaints = [], [], []
        return report


@dataclass(frozen=True)
class Pace:
    """How busy a client is, in seconds."""

    echo_interval: float
    ping_interval: float
    shortest_life: float
    longest_life: float


class Healthy:
    """One client."""

    def __init__(self, scene: Scene, pace: Pace, address: tuple[str, int], path: str) -> None:
        self._scene = scene
        self._pace = pace
        self._address = address
        self._path = path
        self._stream = Stream(scene.loop)
        self._next = {"echo": 0, "tick": 0, "word": FIRST_WORD}
        #: When what is not answered yet was sent.
        self._echoes: deque[float] = deque()
        self._pings: deque[float] = deque()
        self._sent = 0
        self._answers = b""

    def live(self) -> Task[None]:
        """Connect, talk for a while, and leave politely."""
        scene = self._scene
        try:
            yield from self._stream.open(self._address, self._path)
            yield from self._be_there()
            scene.finished += 1
        except (EOFError, OSError, Refused, ValueError) as error:
            scene.complaints.append(self._complaint(error))
        finally:
            self._stream.close()

    def _complaint(self, error: Exception) -> str:
        where = " > ".join(call.name for call in traceback.extract_tb(error.__traceback__))
        waits = f"{len(self._echoes)} echoes and {len(self._pings)} PONGs missing"
        talk = f"{self._next} of {self._sent}, {waits}"
        return f"{error!r} in {where} after {talk}; {self._stream.describe()}"

    def _be_there(self) -> Task[None]:
        self._scene.open += 1
        try:
            yield from self._talk()
            yield from self._leave()
        finally:
            self._scene.open -= 1

    def _talk(self) -> Task[None]:
        pace, rng = self._pace, self._scene.rng
        now = time.monotonic()
        end = now + rng.uniform(pace.shortest_life, pace.longest_life)
        next_echo = now + rng.uniform(0.0, pace.echo_interval)
        next_ping = now + rng.uniform(0.0, pace.ping_interval)
        while now < end and not self._scene.is_over:
            yield Wait(self._stream, min(next_echo, next_ping, end))
            yield from self._listen()
            now = time.monotonic()
            if now >= next_echo:
                next_echo = now + rng.uniform(0.5, 1.5) * pace.echo_interval
                self._echoes.append(now)
                yield from self._stream.send(frame(TEXT, _echo(self._sent)))
                self._sent += 1
            if now >= next_ping:
                next_ping = now + rng.uniform(0.5, 1.5) * pace.ping_interval
                self._pings.append(now)
                yield from self._stream.send(frame(PING, b"soak"))

    def _leave(self) -> Task[None]:
        """Close when all is answered; what was sent before the CLOSE frame comes before it."""
        deadline = time.monotonic() + PATIENCE
        # First of all, since sending may have waited, and been told of what has come.
        yield from self._listen()
        while self._echoes or self._pings:
            if not (yield Wait(self._stream, deadline)):
                raise TimeoutError
            yield from self._listen()
        yield from self._stream.send(frame(CLOSE, _GOODBYE))
        while (received := (yield from self._stream.read_frame())).opcode != CLOSE:
            self._take(received)
        if received.payload != _GOODBYE:
            raise ValueError(received)
        rest = yield from self._stream.read_end()
        if rest:
            raise ValueError(rest[:100])

    def _listen(self) -> Task[None]:
        """Take what has come, and answer PINGs."""
        while self._stream.receive():
            if self._stream.ended:
                raise EOFError
        for received in self._stream.frames():
            self._take(received)
        if self._answers:
            answers, self._answers = self._answers, b""
            yield from self._stream.send(answers)

    def _take(self, received: Frame) -> None:
        """Check a frame; what is wrong is a `ValueError`."""
        if received.opcode == PONG:
            self._scene.pong_times.append(time.monotonic() - self._pings.popleft())
        elif received.opcode == PING:
            self._answers += frame(PONG, received.payload)
        elif received.first == 0x80 | TEXT:
            self._take_text(received.payload)
        else:
            raise ValueError(received)

    def _take_text(self, payload: bytes) -> None:
        kind, number, *_ = payload.split(b" ", 2)
        expected = self._next[kind.decode()]
        if kind == b"tick":
            # Those before this client are not for it, but from then on all are.
            expected = expected or int(number)
            self._scene.ticks += 1
        elif kind == b"word":
            self._scene.words += 1
        elif payload == _echo(expected):
            self._scene.echoes += 1
            self._scene.echo_times.append(time.monotonic() - self._echoes.popleft())
        else:
            raise ValueError(payload[:100])
        if int(number) != expected:
            raise ValueError(payload[:100])
        self._next[kind.decode()] = expected + 1


def _echo(number: int) -> bytes:
    """Return a text of its own, and a long one now and then."""
    filling = _LARGE if number % 50 == 49 else _SMALL[: number % 50]
    return f"echo {number} {filling}".encode()
