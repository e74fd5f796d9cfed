"""CPU time of a server for each WebSocket handshake, beside other servers.

A client in Rust opens connections, 64 at a time: it connects, sends the handshake, reads the 101
and resets the connection; `--end close` does the closing handshake instead. What counts is how many
handshakes a server makes for each second of its CPU time. The servers, small programs in
benchmarks/servers, are the echo servers that the other benchmarks measure, with their own settings.
They are started one after another, again and again; the figures are medians of these rounds.

"floor" is a server in Rust that accepts, answers whatever has come with the same 101, and checks
nothing: what the system's calls cost. Over TLS it has rustls, as handy_ws has, and nothing around
it: what rustls' own handshake costs. handy_ws and "floor" use the same settings of rustls; "rustls
as it comes" is the same server, but the client chooses the cipher, which makes it AES-256 with
SHA-384 here, as with most clients that are no browsers, and not AES-128 with SHA-256. The others
have Python's ssl, which is OpenSSL. Every TLS handshake is a full one, with version 1.3, X25519 and
a certificate with an ECDSA key (P-256).

Goals: more handshakes for each CPU second than any of the others, at most 55 us of CPU time for
each, and over TLS at most 10 % more CPU time than "floor", altogether, and in what TLS adds to a
handshake without it, and than "rustls as it comes".
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
from typing import TYPE_CHECKING

from benchmarks.common.certificates import certificate
from benchmarks.common.native import native
from benchmarks.common.process import Server, cores, raise_file_limit, running, started
from benchmarks.common.report import (
    Report,
    Table,
    Verdict,
    add_loops,
    add_servers,
    parser,
    progress,
    whole_number,
)
from benchmarks.common.turns import FLOOR, OURS, in_turn, median_ratio

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.common.certificates import Certificate

PEERS = ("picows", "websockets", "aiohttp")
PACKAGES = (OURS.replace("_", "-"), *PEERS, "uvloop")
SCHEMES = ("ws", "wss")
RUSTLS = "rustls as it comes"
ALWAYS = (OURS, FLOOR, RUSTLS)
MICROSECONDS_GOAL, TLS_GOAL = 55.0, 1.1
NOTE = """\
{rounds} rounds ({peer_rounds} for the others) of {count} handshakes, {depth} at a time, each ended
with a {end}. "handy_ws to it" is the median of the rounds' ratios of handshakes per CPU second. The
99th percentile is that of the time from `connect` to the 101."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured in a round; times are in seconds."""

    handshakes: int
    seconds: float
    server_cpu: float
    p50: float
    p99: float

    @property
    def per_cpu_second(self) -> float:
        """Handshakes for each second of the server's CPU time."""
        return self.handshakes / self.server_cpu

    @property
    def rate(self) -> float:
        """Handshakes a second."""
        return self.handshakes / self.seconds


@dataclasses.dataclass
class Contender:
    """A server, how it is started, and what was found out about it."""

    name: str
    scheme: str
    module: str = ""
    arguments: Sequence[str] = ()
    figures: list[Figures] = dataclasses.field(default_factory=list)

    def start(self, issued: Certificate) -> AbstractContextManager[Server]:
        """Start it; over TLS it has this certificate."""
        if not self.module:
            files = (issued.chain, issued.key) if self.scheme == "wss" else ()
            return started([native(FLOOR), "handshake", *files, *self.arguments])
        tls = issued.arguments if self.scheme == "wss" else ()
        return running(self.module, (*self.arguments, *tls))

    @property
    def costs(self) -> list[float]:
        """How many handshakes it has made for each CPU second, round by round."""
        return [one.per_cpu_second for one in self.figures]


def contenders(peers: Sequence[str], loops: Sequence[str], scheme: str) -> list[Contender]:
    """Return all that shall be measured over a scheme: handy_ws, the floors, and the others."""
    defaults = [Contender(RUSTLS, scheme, "", ("client-chooses",))] if scheme == "wss" else []
    return [
        Contender(OURS, scheme, "serve_handy_ws"),
        Contender(FLOOR, scheme),
        *defaults,
        *(
            Contender(f"{peer} on {loop}", scheme, f"serve_{peer}", ("--loop", loop))
            for peer in peers
            for loop in loops
        ),
    ]


def shake(server: Server, count: int, options: argparse.Namespace, scheme: str = "ws") -> Figures:
    """Have the client make so many handshakes.

    Raises:
        subprocess.CalledProcessError: one of them has failed.
    """
    host, port = server.address
    arguments = [f"{host}:{port}", str(count), str(options.depth), options.end]
    if scheme == "wss":
        arguments.append("tls")
    cpu = server.cpu_seconds()
    done = subprocess.run(
        [native("handshakes"), *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    spent = server.cpu_seconds() - cpu
    return Figures(server_cpu=spent, **json.loads(done.stdout))


def run(options: argparse.Namespace) -> list[Contender]:
    """Measure all of them in turn, as often as asked."""
    found = [
        contender
        for scheme in options.schemes
        for contender in contenders(options.servers, options.loops, scheme)
    ]
    with certificate() as issued:
        found.sort(key=lambda contender: contender.name not in ALWAYS)
        always = sum(contender.name in ALWAYS for contender in found)
        for contender in in_turn(found, options.rounds, options.peer_rounds, always):
            with contender.start(issued) as server:
                shake(server, options.warm_up, options, contender.scheme)
                figures = shake(server, options.count, options, contender.scheme)
            contender.figures.append(figures)
            progress(
                f"{contender.name}, {contender.scheme}: {figures.per_cpu_second:.0f}"
                f" handshakes/CPU s, {figures.rate:.0f}/s"
            )
    return found


def cost_table(found: Sequence[Contender]) -> Table:
    """Return the figures of one scheme."""
    table = Table(
        f"WebSocket handshakes, {found[0].scheme}",
        (
            "server",
            "handshakes/CPU s",
            "least to most",
            "CPU, us/handshake",
            "handy_ws to it",
            "handshakes/s",
            "p99, ms",
        ),
    )
    for contender in found:
        costs = contender.costs
        ratio = median_ratio(found[0].costs, costs)
        table.rows.append(
            (
                contender.name,
                f"{statistics.median(costs):.0f}",
                f"{min(costs):.0f} to {max(costs):.0f}",
                f"{1e6 / statistics.median(costs):.1f}",
                f"{ratio:.2f}",
                f"{statistics.median(one.rate for one in contender.figures):.0f}",
                f"{statistics.median(one.p99 for one in contender.figures) * 1e3:.2f}",
            )
        )
    return table


def verdicts(found: Sequence[Contender]) -> Iterator[Verdict]:
    """Yield which goals are met over a scheme."""
    scheme = f"handshakes, {found[0].scheme}"
    ours, floor = (statistics.median(contender.costs) for contender in found[:2])
    others = [statistics.median(one.costs) for one in found if one.name not in ALWAYS]
    if others:
        ahead = ours / max(others)
        yield Verdict(f"{scheme}: more than all others", f"{ahead:.2f} x the next", ahead > 1)
    if found[0].scheme == "wss":
        for one in found[1:3]:
            ratio = median_ratio(one.costs, found[0].costs)
            goal = f"{scheme}: CPU time at most {TLS_GOAL:g} x {one.name}"
            yield Verdict(goal, f"{ratio:.3f} x", ratio <= TLS_GOAL)
    else:
        cost = 1e6 / ours
        goal = f"{scheme}: at most {MICROSECONDS_GOAL:g} us of CPU time"
        yield Verdict(goal, f"{cost:.1f} us, floor {1e6 / floor:.1f}", cost <= MICROSECONDS_GOAL)


def added_by_tls(found: Sequence[Contender]) -> Iterator[Verdict]:
    """Yield whether TLS adds as little as it adds to the floor, if both schemes were measured."""
    cost = {(one.name, one.scheme): 1e6 / statistics.median(one.costs) for one in found}
    if len({scheme for _, scheme in cost}) > 1:
        ours, floor = (cost[name, "wss"] - cost[name, "ws"] for name in (OURS, FLOOR))
        goal = f"handshakes, wss: TLS adds at most {TLS_GOAL:g} x what it adds to the floor"
        figure = f"{ours / floor:.3f} x: {ours:.0f} us, floor {floor:.0f}"
        yield Verdict(goal, figure, ours <= TLS_GOAL * floor)


def told(goal: Verdict) -> str:
    """Return whether it is met, for people."""
    return f"{'yes' if goal.is_met else 'NO'}, {goal.figure}."


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS)
    add_loops(arguments)
    arguments.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    arguments.add_argument("--end", choices=("reset", "close"), default="reset")
    arguments.add_argument("--depth", type=whole_number, default=64, help="at a time")
    arguments.add_argument("--rounds", type=whole_number, default=7)
    arguments.add_argument("--peer-rounds", type=whole_number, default=7, help="of the others")
    arguments.add_argument("--count", type=whole_number, default=20_000, help="in each round")
    arguments.add_argument("--warm-up", type=whole_number, default=2000, help="before those")
    options = arguments.parse_args()
    raise_file_limit(options.depth + 100)
    found = run(options)
    by_scheme = [[one for one in found if one.scheme == name] for name in options.schemes]
    goals = [*(goal for ones in by_scheme for goal in verdicts(ones)), *added_by_tls(found)]
    server_core, client_core = cores()
    Report(
        "Handshakes",
        {**vars(options), "server core": server_core, "client core": client_core},
        PACKAGES,
        [cost_table(ones) for ones in by_scheme],
        [NOTE.format(**vars(options)), *(f"{one.goal}: {told(one)}" for one in goals)],
        [dataclasses.asdict(contender) for contender in found],
        goals,
    ).publish(options.report)


if __name__ == "__main__":
    main()
