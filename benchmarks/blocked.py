"""How long PINGs and broadcasts take while a callback blocks a handy_ws server.

One client has its callback block for some seconds, in one of these ways:

  none    it does not
  sleep   it sleeps
  hold    it calls native code that never lets go of the interpreter's lock
  spin    it waits for another thread of Python that runs without a pause

Meanwhile 200 other clients send PINGs in turn, so that there is one every half millisecond, and
take the time until the PONG. The callback broadcasts when it begins, and another thread of the
server ten times a second (while the lock is held, no other Python thread can). A broadcast takes
from the call until the last of the clients has it, by a clock that is the same for both processes.

Then other servers sleep in a handler, and 200 clients send PINGs to them.

Goals: PONGs within 0.3 ms in the median and 25 ms at worst, broadcasts within 50 ms, and no
connection is closed. The client is written in Python, and its own time is part of what is measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.process import running
from benchmarks.common.report import (
    Report,
    Table,
    Verdict,
    add_servers,
    parser,
    progress,
    whole_number,
)
from benchmarks.common.turns import OURS, start
from benchmarks.common.wire import PING, PONG, TEXT, ProtocolError, frame, parse_header
from benchmarks.servers.peers import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

PEERS = ("picows", "websockets", "aiohttp")
MODES = ("none", "sleep", "hold", "spin")
PONG_MEDIAN_GOAL, PONG_WORST_GOAL, BROADCAST_GOAL = 0.0003, 0.025, 0.05
INTERVAL = 0.0005
READ_SIZE = 1 << 16
SETTLING = 0.3


@dataclasses.dataclass
class Outcome:
    """What happened in one mode; times in seconds."""

    mode: str
    server: str = OURS
    pongs: list[float] = dataclasses.field(default_factory=list)
    broadcasts: list[float] = dataclasses.field(default_factory=list)
    unanswered: int = 0


class Pinger:
    """A client that sends PINGs and reads what comes."""

    def __init__(self, client: Client, outcome: Outcome, arrivals: dict[int, int]) -> None:
        self.socket = client.socket
        self.socket.setblocking(False)
        self.sent_at: int | None = None
        self._outcome = outcome
        self._arrivals = arrivals
        self._received = b""

    def ping(self) -> None:
        """Send a PING, unless the last one is not answered yet."""
        if self.sent_at is None:
            self.sent_at = time.monotonic_ns()
            self.socket.send(frame(PING, b"ping"))

    def read(self, now: int) -> None:
        """Take the PONG, and the broadcasts.

        Raises:
            ProtocolError: the server has closed the connection, or sends something else.
        """
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise ProtocolError("the server has closed a connection")
        self._received += data
        while (header := parse_header(self._received)) is not None:
            first, start, length = header
            if len(self._received) < start + length:
                return
            payload = self._received[start : start + length]
            self._received = self._received[start + length :]
            self._take(first & 0x0F, payload, now)

    def _take(self, opcode: int, payload: bytes, now: int) -> None:
        if opcode == PONG and self.sent_at is not None:
            self._outcome.pongs.append((now - self.sent_at) / 1e9)
            self.sent_at = None
        elif opcode == TEXT and payload.isdigit():
            said = int(payload)
            self._arrivals[said] = max(self._arrivals.get(said, 0), now - said)
        elif opcode != PING:
            raise ProtocolError(f"a frame that nobody expects: {opcode} {payload!r}")


def watch(pingers: Sequence[Pinger], seconds: float) -> None:
    """Send PINGs in turn, and read, for that time; then read what is still on its way."""
    with select.epoll() as poll:
        by_descriptor = {pinger.socket.fileno(): pinger for pinger in pingers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        start = time.monotonic()
        sent = 0
        while (now := time.monotonic()) < start + seconds + SETTLING:
            if now < start + seconds and now >= start + sent * INTERVAL:
                pingers[sent % len(pingers)].ping()
                sent += 1
            events = poll.poll(0)  # its timeouts are whole milliseconds
            arrived = time.monotonic_ns()
            for descriptor, _ in events:
                by_descriptor[descriptor].read(arrived)


def run(mode: str, seconds: int, clients: int, name: str = OURS) -> Outcome:
    """Have a callback block, and watch the others.

    Raises:
        ProtocolError: a connection was closed.
    """
    outcome = Outcome(mode, name)
    arrivals: dict[int, int] = {}
    is_ours = name == OURS
    process = running("serve_blocking") if is_ours else start(name, mode)
    with process as server, contextlib.ExitStack() as stack:
        pingers = [
            Pinger(stack.enter_context(Client(server.address)), outcome, arrivals)
            for _ in range(clients)
        ]
        watch(pingers, 1)  # so that what is made once is there
        outcome.pongs.clear()
        arrivals.clear()
        blocker = stack.enter_context(Client(server.address))
        text = f"{mode} {seconds}" if is_ours else str(seconds)
        blocker.socket.sendall(frame(TEXT, text.encode()))
        watch(pingers, seconds)
        outcome.unanswered = sum(pinger.sent_at is not None for pinger in pingers)
        while blocker.read_message().payload != b"done":
            pass
    outcome.broadcasts = [late / 1e9 for late in arrivals.values()]
    return outcome


def verdict(outcome: Outcome) -> Verdict:
    """Say whether the goals are met."""
    median, worst = statistics.median(outcome.pongs), max(outcome.pongs)
    met = (
        median <= PONG_MEDIAN_GOAL
        and worst <= PONG_WORST_GOAL
        and max(outcome.broadcasts) <= BROADCAST_GOAL
        and outcome.unanswered == 0
    )
    return Verdict(
        f"a callback that blocks, {outcome.mode}: PONGs within {PONG_MEDIAN_GOAL * 1e3:g} ms,"
        f" at worst {PONG_WORST_GOAL * 1e3:g}, broadcasts {BROADCAST_GOAL * 1e3:g}",
        f"{median * 1e3:.2f} ms, at worst {worst * 1e3:.2f}, {max(outcome.broadcasts) * 1e3:.2f}",
        met,
    )


def row(outcome: Outcome) -> Sequence[str]:
    """Return the line of the table."""
    pongs, broadcasts = sorted(outcome.pongs), outcome.broadcasts
    times = (statistics.median(pongs), pongs[int(len(pongs) * 0.99)], pongs[-1])
    return (
        outcome.mode,
        str(len(pongs)),
        *(f"{value * 1e3:.2f}" for value in times),
        str(outcome.unanswered),
        str(len(broadcasts)),
        f"{statistics.median(broadcasts) * 1e3:.2f}",
        f"{max(broadcasts) * 1e3:.2f}",
        "yes" if verdict(outcome).is_met else "NO",
    )


def peer_table(outcomes: Sequence[Outcome]) -> Table:
    """Return how long PONGs of everybody take."""
    columns = ("server", "PONGs", "median", "worst", "unanswered")
    table = Table("PONGs in ms while a handler sleeps", columns)
    for one in outcomes:
        times = (statistics.median(one.pongs), max(one.pongs)) if one.pongs else ()
        shown = [f"{value * 1e3:.2f}" for value in times] or ["", ""]
        table.rows.append((one.server, str(len(one.pongs)), *shown, str(one.unanswered)))
    return table


def main() -> None:
    """Read the command line, block, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS)
    arguments.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    arguments.add_argument("--seconds", type=whole_number, default=5, help="to block for")
    arguments.add_argument("--clients", type=whole_number, default=200, help="that send PINGs")
    options = arguments.parse_args()
    columns = (
        "callback",
        "PONGs",
        "median",
        "99 %",
        "worst",
        "unanswered",
        "broadcasts",
        "median",
        "worst",
        "goals met",
    )
    table = Table("Times in ms while a callback blocks", columns)
    report = Report("A callback that blocks", vars(options), PACKAGES, tables=[table])
    outcomes = []
    for mode in options.modes:
        outcomes.append(run(mode, options.seconds, options.clients))
        table.rows.append(row(outcomes[-1]))
        progress(" ".join(table.rows[-1]))
    report.goals += map(verdict, outcomes)
    for peer in options.servers:
        progress(f"{peer} sleeps")
        outcomes.append(run("sleep", options.seconds, options.clients, peer))
    asleep = [one for one in outcomes if one.mode == "sleep"]
    if asleep:
        report.tables.append(peer_table(asleep))
    report.data += map(dataclasses.asdict, outcomes)
    report.publish(options.report)


if __name__ == "__main__":
    main()
