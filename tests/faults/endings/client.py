"""The clients' process: ``python -m tests.faults.endings.client HOST PORT SEED COUNT STAYING``.

Opens STAYING connections that stay until the server stops, and half as many that last long. Then
makes COUNT connections, `AT_ONCE` at a time, each of which ends in its own way; prints, as JSON,
which of them have not ended in time, and when the server has stopped and all is over, what the
clients have seen.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field

from tests.faults.endings.catalogue import AT_STOP, LONG, WHENEVER, draw
from tests.faults.endings.ending import Ending, Plan, Surprise, Visitor
from tests.faults.loop import Loop, Task
from tests.faults.stream import Refused, Stream

AT_ONCE = 800
LIMIT = 180.0  # seconds
_LATE = (EOFError, OSError, Refused, Surprise)


@dataclass
class Clients:
    """All of them."""

    address: tuple[str, int]
    seed: int
    loop: Loop = field(default_factory=Loop)
    #: The numbers of those that have seen the 101.
    accepted: list[int] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    #: Those that are there.
    live: dict[int, Ending] = field(default_factory=dict)

    def visit(self, number: int, ending: Ending) -> Task[None]:
        """Be one client, from its connection to its end."""
        plan = Plan.of(self.seed, number)
        self.live[number] = ending
        stream = Stream(self.loop, receive_buffer=ending.receive_buffer)
        try:
            if (yield from ending.open(stream, self.address, plan)):
                self.accepted.append(number)
                yield from ending.client(Visitor(stream, plan), plan)
        except _LATE as error:
            self.surprises.append(f"{number} {ending.name}: {error!r}")
        finally:
            del self.live[number]
            stream.close()

    def visit_all(self, visits: list[tuple[int, Ending]]) -> Task[None]:
        """Make the visits one after the other; `visits` is shared by several tasks."""
        while visits:
            yield from self.visit(*visits.pop())


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    host, *numbers = arguments
    port, seed, count, staying = map(int, numbers)
    clients = Clients((host, port), seed)
    first = draw(seed, staying, AT_STOP) + draw(seed, staying // 2, LONG)
    for number, ending in enumerate(first, count):
        clients.loop.spawn(clients.visit(number, ending))
    clients.loop.run(until=lambda: len(clients.accepted) == len(first) or bool(clients.surprises))
    visits = list(enumerate(draw(seed, count, WHENEVER)))
    for _ in range(AT_ONCE):
        clients.loop.spawn(clients.visit_all(visits))
    deadline = time.monotonic() + LIMIT
    clients.loop.run(until=lambda: clients.loop.tasks <= staying or time.monotonic() > deadline)
    late = [f"{number} {ending.name}" for number, ending in clients.live.items()]
    print(json.dumps([text for text in late if "Stays" not in text]), flush=True)
    clients.loop.run()
    print(json.dumps({"accepted": clients.accepted, "surprises": clients.surprises}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
