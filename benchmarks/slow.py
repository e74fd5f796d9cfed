"""What clients that never read cost those that do, for each policy at their queue's limit.

Two servers have 990 clients that read; to one of them ten more are connected, which never do. The
first client of a server sends texts of 1 KiB, which it broadcasts; when all 990 have them, the next
ones are sent. The servers take turns, and what counts is the ratio of each pair of rates: with the
ten and without them. When it begins, the system takes nothing more for the ten. With `drop_newest`
and `drop_oldest` their queues are full from the warm-up on, and each broadcast drops something for
each of them; with `close` ten new ones are connected for each turn.

Memory is how much the anonymous memory of the server with the ten grows when their queues fill,
each with messages of its own (broadcasts would be shared). The counters are compared with what the
clients have received: at the end the ten read everything, and when all is read, the server has
counted as many messages as sent, and all others as dropped.

Goals: at least 95 % of the rate without the ten, memory of no more than ten times the limit and a
tenth of that, and counters that are exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import time
from typing import TYPE_CHECKING, Any, Self

from benchmarks.common.client import Client
from benchmarks.common.listeners import Listeners
from benchmarks.common.payloads import json_texts
from benchmarks.common.process import Server, raise_file_limit, running
from benchmarks.common.report import Report, Table, Verdict, parser, progress, whole_number
from benchmarks.common.wire import CLOSE, TEXT, ProtocolError, frame

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

POLICIES = ("close", "drop_newest", "drop_oldest")
RATE_GOAL, MEMORY_GOAL = 0.95, 1.1
SIZE = 1024
READ_SIZE = 1 << 16
STALLED = 10.0
FILL = 8  # the part of the limit that the server sends when it is to fill
FILLS = 2 * FILL
KIB = 1024


@dataclasses.dataclass(frozen=True)
class Turn:
    """What was measured in a turn: deliveries a second, and CPU time of the server for each."""

    rate: float
    microseconds: float


@dataclasses.dataclass
class Outcome:
    """What was found out about a policy.

    ``expected`` is how many messages there were for each of those who should get them, and
    ``received`` how many of these have come.
    """

    policy: str
    slow: list[Turn] = dataclasses.field(default_factory=list)
    free: list[Turn] = dataclasses.field(default_factory=list)
    growth: int = 0
    received: int = 0
    stats: dict[str, Any] = dataclasses.field(default_factory=dict)
    expected: int = 0

    @property
    def ratios(self) -> list[float]:
        """The rates with the ten to those without them, turn by turn."""
        return [a.rate / b.rate for a, b in zip(self.slow, self.free, strict=True)]


class Silent:
    """A client that says that it will not read, and does not, until the end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._client = Client(address)
        answer = self._client.echo(frame(TEXT, b"slow")).payload
        if answer != b"noted":
            raise ProtocolError(f"something else has come: {answer!r}")
        self.received = 1

    def read(self, messages: int) -> None:
        """Read so many messages after all."""
        for _ in range(messages):
            self._client.read_message()
        self.received += messages

    def read_to_the_close(self) -> int:
        """Read until a CLOSE frame comes: how many messages have come in all."""
        while self._client.read_message().close_code is None:
            self.received += 1
        self.close()
        return self.received

    def leave(self) -> int:
        """Say CLOSE, and read all that still comes before the answer."""
        self._client.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        return self.read_to_the_close()

    def close(self) -> None:
        """Close the socket."""
        self._client.socket.close()


class Crowd:
    """A server, the clients that read, and the ten that do not."""

    def __init__(self, server: Server, readers: int) -> None:
        self.server = server
        self.received = 0
        self.broadcast = 0
        self.silent: list[Silent] = []
        self._clients = [Client(server.address) for _ in range(readers)]
        self._listeners = Listeners()
        for client in self._clients[1:]:
            self._listeners.add(client)
        self._texts = [frame(TEXT, text) for text in json_texts(16, SIZE)]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all sockets."""
        for client in self._clients:
            client.socket.close()
        for silent in self.silent:
            silent.close()
        self._listeners.close()

    def ask(self, question: str) -> str:
        """Send a text for which there is an answer, and return that."""
        self.received += 1
        return self._clients[0].echo(frame(TEXT, question.encode())).payload.decode()

    def silence(self, count: int) -> None:
        """Connect clients that do not read, until the system takes nothing more for them."""
        self.silent += [Silent(self.server.address) for _ in range(count)]
        while self.ask("jam") != "0":
            pass

    def rehearse(self, count: int, limit: int) -> None:
        """Let the server send as much to clients that read: what is made once is there then."""
        self.silent = [Silent(self.server.address) for _ in range(count)]
        for _ in range(FILLS):
            self.ask("fill")
            for silent in self.silent:
                silent.read(limit // FILL // SIZE)
        self.received += self.see_silent_off()

    def see_silent_off(self) -> int:
        """Have those who have not read read everything: how much they have got."""
        received = sum(silent.leave() for silent in self.silent)
        self.silent.clear()
        return received

    def see_silent_closed(self) -> int:
        """Send to those who do not read until they are closed: how much they have got."""
        for _ in range(FILLS):
            self.ask("fill")
        received = sum(silent.read_to_the_close() for silent in self.silent)
        self.silent.clear()
        return received

    def measure(self, broadcasts: int, depth: int) -> Turn:
        """Broadcast to everybody, and take the time until those who read have it."""
        cpu, start = self.server.cpu_seconds(), time.monotonic()
        for number in range(0, broadcasts, depth):
            count = min(depth, broadcasts - number)
            texts = [self._texts[(number + i) % len(self._texts)] for i in range(count)]
            self._clients[0].socket.sendall(b"".join(texts))
            self._wait_for_all(count)
        self.broadcast += broadcasts * (len(self._clients) + len(self.silent))
        seconds = time.monotonic() - start
        deliveries = broadcasts * len(self._clients)
        spent = self.server.cpu_seconds() - cpu
        return Turn(deliveries / seconds, spent / deliveries * 1e6)

    def _wait_for_all(self, depth: int) -> None:
        self._listeners.wait(depth)
        for _ in range(depth):
            self._clients[0].read_message()
        self.received += depth * len(self._clients)


def run(policy: str, options: argparse.Namespace) -> Outcome:
    """Let a server with the ten and one without them take turns."""
    outcome = Outcome(policy)
    arguments = ("--policy", policy, "--limit", str(options.limit))
    readers = options.connections - options.silent
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running("serve_slow", arguments)) for _ in range(2)]
        slow, _ = crowds = [stack.enter_context(Crowd(server, readers)) for server in servers]
        for crowd in crowds:
            crowd.measure(options.broadcasts, options.depth)
        outcome.growth = grow(slow, options)
        if policy == "close":
            outcome.received += slow.see_silent_closed()
        else:
            slow.measure(2 * options.limit // SIZE, options.depth)  # what was its own makes room
        for number in range(options.rounds):
            if policy == "close":
                slow.silence(options.silent)
            for crowd in crowds[:: -1 if number % 2 else 1]:
                turns = outcome.slow if crowd is slow else outcome.free
                turns.append(crowd.measure(options.broadcasts, options.depth))
            if policy == "close":
                outcome.received += slow.see_silent_closed()
            progress(f"{policy}, round {number + 1}: {outcome.ratios[-1]:.3f}")
        settle(slow, outcome)
    return outcome


def grow(crowd: Crowd, options: argparse.Namespace) -> int:
    """Fill the queues of clients that do not read; return the growth of the server's memory."""
    crowd.rehearse(options.silent, options.limit)
    before = crowd.server.anonymous_bytes()
    crowd.silence(options.silent)
    most = 0
    for _ in range(FILLS):
        crowd.ask("fill")
        most = max(most, crowd.server.anonymous_bytes())
    return most - before


def settle(crowd: Crowd, outcome: Outcome) -> None:
    """Have everybody read everything, and take the counters when nothing waits any more."""
    outcome.received += crowd.see_silent_off()
    crowd.ask("stats")  # its answer is in the counters of the next one
    answered = crowd.received
    outcome.stats = json.loads(crowd.ask("stats"))
    outcome.received += answered
    outcome.expected = crowd.broadcast + outcome.stats["sends"]


def verdict(outcome: Outcome, options: argparse.Namespace) -> Verdict:
    """Say whether the goals are met."""
    ratio = statistics.median(outcome.ratios)
    memory = outcome.growth / (options.silent * options.limit)
    stats = outcome.stats
    exact = stats["messages_sent"] == outcome.received
    if outcome.policy != "close":  # whoever is closed gets no broadcasts any more
        exact &= stats["messages_dropped"] == outcome.expected - outcome.received
    return Verdict(
        f"{options.silent} of {options.connections} clients stalled, {outcome.policy}:"
        f" at least {RATE_GOAL:g} of the rate, memory at most {MEMORY_GOAL:g} x the limits",
        f"{ratio:.3f} of the rate, {memory:.2f} x the limits"
        f", counters {'exact' if exact else 'NOT exact'}",
        ratio >= RATE_GOAL and memory <= MEMORY_GOAL and exact,
    )


def row(outcome: Outcome, options: argparse.Namespace) -> Sequence[str]:
    """Return the line of the table."""
    ratio = statistics.median(outcome.ratios)
    bound = options.silent * options.limit
    stats = outcome.stats
    return (
        outcome.policy,
        f"{statistics.median(turn.rate for turn in outcome.free):.0f}",
        f"{statistics.median(turn.rate for turn in outcome.slow):.0f}",
        f"{ratio:.3f}",
        f"{min(outcome.ratios):.3f} to {max(outcome.ratios):.3f}",
        f"{statistics.median(turn.microseconds for turn in outcome.free):.3f}",
        f"{statistics.median(turn.microseconds for turn in outcome.slow):.3f}",
        f"{outcome.growth / KIB:.0f}",
        f"{bound / KIB:.0f}",
        str(outcome.received),
        str(stats["messages_sent"]),
        str(stats["messages_dropped"]),
        "yes" if verdict(outcome, options).is_met else "NO",
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    arguments.add_argument("--connections", type=whole_number, default=1000)
    arguments.add_argument("--silent", type=whole_number, default=10, help="of them never read")
    arguments.add_argument("--limit", type=whole_number, default=1 << 20, help="send_queue_limit")
    arguments.add_argument("--rounds", type=whole_number, default=15)
    arguments.add_argument("--broadcasts", type=whole_number, default=480, help="in each turn")
    arguments.add_argument("--depth", type=whole_number, default=4, help="broadcasts in flight")
    options = arguments.parse_args()
    raise_file_limit(2 * options.connections + 100)
    columns = (
        "policy",
        "deliveries/s without",
        "with",
        "ratio",
        "least to most",
        "server CPU, µs/delivery without",
        "with",
        "memory, KiB",
        "limits, KiB",
        "received",
        "counted as sent",
        "as dropped",
        "goals met",
    )
    table = Table("Broadcasts to those who read, without and with those who do not", columns)
    report = Report("Slow consumers", vars(options), tables=[table])
    for policy in options.policies:
        outcome = run(policy, options)
        table.rows.append(row(outcome, options))
        report.goals.append(verdict(outcome, options))
        report.data.append(dataclasses.asdict(outcome) | {"ratios": outcome.ratios})
    report.publish(options.report)


if __name__ == "__main__":
    main()
