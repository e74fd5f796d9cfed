"""Servers that take turns at being measured: handy_ws, the floor, and others.

Whatever a machine does beside comes and goes. So every server is measured in every round, and what
counts are the ratios within a round. handy_ws and the floor, of which a few percent matter, even
run at the same time, and are asked in turn for parts of a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from benchmarks.common.native import native
from benchmarks.common.native_load import Figures, NativeLoad
from benchmarks.common.process import Server, running, started
from benchmarks.common.report import progress
from benchmarks.servers.peers import PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.common.works import Work

__all__ = [
    "FLOOR",
    "OURS",
    "SPINNING",
    "THREADED",
    "Contender",
    "in_turn",
    "measure",
    "measure_together",
    "median_ratio",
    "start",
    "take_turns",
    "together",
]

OURS, FLOOR = "handy_ws", "floor"
#: handy_ws where another thread than the callback's broadcasts.
THREADED = "handy_ws, from a thread"
#: handy_ws with a thread of Python that never waits.
SPINNING = "handy_ws, spinning"
#: How often those that run at the same time are asked, for each figure.
_TURNS = 4
_Server = TypeVar("_Server")
# Clients that are asked nothing for a while answer no PING.
_QUIET = ("--ping-interval", "1000000")


def start(name: str, does: str) -> AbstractContextManager[Server]:
    """Start a server, to do that."""
    if name == FLOOR:
        return started([native(FLOOR), does])
    if name == OURS:
        return running("serve_handy_ws", ("--does", does, *_QUIET))
    if name == THREADED:
        return running("serve_handy_ws", ("--does", f"{does}-from-thread", *_QUIET))
    if name == SPINNING:
        return _spinning(does)
    peer = PEERS[name]
    return running(peer.module, (*peer.arguments, "--does", does))


@contextlib.contextmanager
def _spinning(does: str) -> Iterator[Server]:
    with running("serve_handy_ws", ("--does", does, "--spin", *_QUIET)) as server:
        server.sleeps = False
        yield server


@dataclasses.dataclass
class Contender:
    """A server, and what was found out about it."""

    name: str
    figures: dict[Work, list[Figures]] = dataclasses.field(default_factory=dict)

    def costs(self, work: Work) -> list[float]:
        """Return the microseconds for each message, round by round."""
        return [one.microseconds for one in self.figures.get(work, ())]

    def median(self, work: Work, value: str) -> float:
        """Return the median of a property of the figures."""
        return float(statistics.median(getattr(one, value) for one in self.figures[work]))

    def works(self, works: Sequence[Work]) -> list[Work]:
        """Return those of the works that it takes part in."""
        if self.name == THREADED:
            return [work for work in works if work.kind == "broadcast"]
        return list(works)


def median_ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of the rounds that both had."""
    pairs = zip(ones, others, strict=False)
    return statistics.median(one / other for one, other in pairs)


def measure(contender: Contender, works: Sequence[Work], seconds: float) -> None:
    """Measure a server with all works, a process for each thing that it has to do."""
    for does, group in groupby(contender.works(works), key=lambda work: work.does):
        with start(contender.name, does) as server:
            for work in group:
                with NativeLoad(server, work) as load:
                    figures = load.measure(seconds)
                _note(contender, work, figures)


def measure_together(
    contenders: Sequence[Contender], works: Sequence[Work], seconds: float
) -> None:
    """Measure servers that run at the same time; each gets about so many seconds for each work."""
    for does, group in groupby(works, key=lambda work: work.does):
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(start(one.name, does)) for one in contenders]
            for work in group:
                with contextlib.ExitStack() as loads:
                    clients = [loads.enter_context(NativeLoad(each, work)) for each in servers]
                    found = _alternate(clients, seconds)
                for contender, figures in zip(contenders, found, strict=True):
                    _note(contender, work, figures)


def _alternate(clients: Sequence[NativeLoad], seconds: float) -> list[Figures]:
    counts = [client.count_for(seconds / _TURNS) for client in clients]
    turns: list[list[Figures]] = [[] for _ in clients]
    order = list(zip(clients, counts, turns, strict=True))
    for _ in range(_TURNS):
        for client, count, found in order:
            found.append(client.keep(count))
        order.reverse()
    return [together(found) for found in turns]


def together(parts: Sequence[Figures]) -> Figures:
    """Return the figures of several measurements as one: sums, and medians of the times."""
    return Figures(
        messages=sum(part.messages for part in parts),
        seconds=sum(part.seconds for part in parts),
        server_cpu=sum(part.server_cpu for part in parts),
        client_cpu=sum(part.client_cpu for part in parts),
        p50=statistics.median(part.p50 for part in parts),
        p99=statistics.median(part.p99 for part in parts),
        p999=statistics.median(part.p999 for part in parts),
        late_p99=statistics.median(part.late_p99 for part in parts),
        late_p999=statistics.median(part.late_p999 for part in parts),
    )


def _note(contender: Contender, work: Work, figures: Figures) -> None:
    contender.figures.setdefault(work, []).append(figures)
    progress(
        f"{contender.name}, {work.name}: {figures.microseconds:.3f} us CPU, {figures.rate:.0f}/s"
    )


def in_turn(
    found: Sequence[_Server], rounds: int, peer_rounds: int, always: int = 2
) -> Iterator[_Server]:
    """Yield who is measured next: the first `always` in all rounds, the others in fewer."""
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        takes_part = found if number < peer_rounds else found[:always]
        # Back and forth, so that nobody always comes after the same one.
        yield from takes_part[:: -1 if number % 2 else 1]


def take_turns(
    found: Sequence[Contender], works: Sequence[Work], given: argparse.Namespace
) -> None:
    """Measure all of them, as often and for as long as the command line says."""
    works = sorted(works)
    first, others = found[:2], found[2:]
    for number in range(given.rounds):
        progress(f"round {number + 1} of {given.rounds}")
        measure_together(first[:: -1 if number % 2 else 1], works, given.seconds)
        if number < given.peer_rounds:
            for contender in others[:: -1 if number % 2 else 1]:
                measure(contender, works, given.seconds)
