"""What servers are measured with: kinds of work, and the goals that handy_ws has for some."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from benchmarks.common.report import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GOALS", "GRID", "SHOWN", "Goal", "Work", "work_named"]

_KIB = 1 << 10
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, order=True)
class Work:
    """One kind of work.

    Attributes:
        kind: ``"echo"``, ``"broadcast"``, where one sends and all get it, or ``"all"``, where all
            do.
        connections: how many clients there are.
        depth: messages in flight from each sender.
        size: bytes of a message.
        payload: ``"binary"``, or text that is ``"ascii"`` or ``"mixed"``.
    """

    kind: str
    connections: int
    depth: int
    size: int
    payload: str = "binary"

    @property
    def name(self) -> str:
        """What it is called in tables."""
        crowd = f"{self.connections} x {self.depth}"
        text = "" if self.payload == "binary" else f", {self.payload}"
        return f"{self.kind}, {crowd}, {_readable(self.size)}{text}"

    @property
    def does(self) -> str:
        """What the server has to do."""
        return "echo" if self.kind == "echo" else "broadcast"

    @property
    def arguments(self) -> Sequence[str]:
        """How the client is called."""
        numbers = (str(self.connections), str(self.depth), str(self.size))
        return (self.kind, *numbers, self.payload)

    @property
    def in_flight(self) -> int:
        """Messages in flight, or deliveries where each message goes to all."""
        senders = 1 if self.kind == "broadcast" else self.connections
        receivers = 1 if self.kind == "echo" else self.connections
        return self.depth * senders * receivers


def work_named(text: str) -> Work:
    """Read a work for `argparse`: ``echo:64:1:32:binary``."""
    kind, *numbers, payload = text.split(":")
    connections, depth, size = map(whole_number, numbers)
    return Work(kind, connections, depth, size, payload)


def _readable(size: int) -> str:
    if size % _MIB == 0:
        return f"{size // _MIB} MiB"
    return f"{size // _KIB} KiB" if size % _KIB == 0 else f"{size} B"


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a message may cost.

    Attributes:
        ratio: times the floor.
        microseconds: or this, if it is more; None if there is nothing but the ratio.
    """

    ratio: float
    microseconds: float | None = None

    def __str__(self) -> str:
        """Return it for people."""
        text = f"{self.ratio:g} x floor"
        return text if self.microseconds is None else f"{text}, or {self.microseconds:g} us"

    def is_met(self, ratio: float, microseconds: float) -> bool:
        """Say whether figures are good enough."""
        return ratio <= self.ratio or (
            self.microseconds is not None and microseconds <= self.microseconds
        )


#: The works that handy_ws has goals for.
GOALS = {
    Work("echo", 64, 1, 32): Goal(1.1),
    Work("echo", 64, 16, 32): Goal(2.0, 0.8),
    Work("echo", 16, 4, 16 * _KIB): Goal(1.5),
    Work("broadcast", 1000, 1, 128): Goal(1.05),
    Work("broadcast", 100, 64, 128): Goal(1.1),
}


_ALL_TO_ALL = Work("all", 32, 1, 128)

#: What is measured if nothing else is asked for.
SHOWN = [*GOALS, _ALL_TO_ALL]


def _grid() -> list[Work]:
    sizes = (20, 32, 512, _KIB, 8 * _KIB, 16 * _KIB, _MIB)
    works = [
        Work("echo", connections, depth, size)
        for size in sizes
        for connections in (1, 64, 500)
        for depth in (1, 16)
        if size * connections * depth <= 64 * _MIB
    ]
    works += [
        Work("echo", 64, depth, size, payload)
        for payload in ("ascii", "mixed")
        for size in (32, _KIB, 16 * _KIB)
        for depth in (1, 16)
    ]
    works += [
        Work("broadcast", connections, depth, 128)
        for connections in (10, 100, 1000, 10_000)
        for depth in (1, 64)
    ]
    return [*works, _ALL_TO_ALL, *(set(GOALS) - set(works))]


#: All the works, those with goals among them.
GRID = sorted(_grid())
