"""How long messages take at half of the load that a server can bear, beside a floor.

First it is found out how many messages a second each server can do with the work's messages in
flight: a closed loop, where the next one is sent when one has come. Then a client sends at half of
that rate, whatever comes back, and a message's time counts from the moment when it was to be sent:
a server that stops for a while is charged for all that it keeps waiting. Times of a broadcast are
those of all deliveries.

There are two tables for each work. In the first one handy_ws and "floor", a server in Rust that
checks nothing and calls nobody, both get half of what handy_ws can do. In the second one everybody
gets half of its own most. "handy_ws, spinning" has a thread of Python in its process that runs
without a pause, on the same core: it gets the interpreter's lock, and the core, in turn with it.

The client never sleeps, and says how late it was to send; that is a part of the times. Where it is
more than half of them, on a machine that does other things too, the figures are the client's, and
the goal does not count as met.

Goal: the 99th percentile at most 1.2 times that of the floor at the same rate.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.common.native_load import Figures, NativeLoad
from benchmarks.common.process import cores, raise_file_limit
from benchmarks.common.report import (
    Report,
    Table,
    Verdict,
    add_servers,
    parser,
    progress,
    whole_number,
)
from benchmarks.common.turns import FLOOR, OURS, SPINNING, Contender, in_turn, median_ratio, start
from benchmarks.common.works import Work, work_named
from benchmarks.servers.peers import PACKAGES, PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

GOAL = 1.2
SHARE = 0.5
#: The part of the times that the client itself may be late.
LATE = 0.5
WORKS = (
    Work("echo", 64, 1, 32),
    Work("echo", 16, 4, 1 << 14),
    Work("broadcast", 100, 1, 128),
)
USUAL_PEERS = ("picows", "socketify")
WARM_UP = 0.2  # seconds
SEARCHES = 3
COLUMNS = (
    "server",
    "messages/s",
    "server busy",
    "p50, us",
    "p99, us",
    "least to most",
    "p99.9, us",
    "p99 to floor",
    "client late, p99, us",
    "p99.9, us",
)
NOTE = """\
Medians of {rounds} rounds ({peer_rounds} for the other servers) of {seconds:g} s each, each at a
fixed rate. "P99 to floor" is the median of the rounds' ratios. A message is late if the client
sends it later than it was due."""


class Case(NamedTuple):
    """What is measured: a server that gets so many messages a second of a work."""

    server: str
    work: Work
    rate: float


#: The figures of each round, by case.
Found = dict[Case, list[Figures]]
#: Messages a second that a server can do, by server and work.
Most = dict[tuple[str, Work], float]


def takes_part(server: str, work: Work) -> bool:
    """Say whether a server does a work: spinning is for what each client waits for by itself."""
    return server != SPINNING or work.kind == "echo"


def search(names: Sequence[str], works: Sequence[Work], seconds: float) -> Most:
    """Find out how many messages a second each server can do."""
    most: Most = {}
    for work in works:
        receivers = 1 if work.kind == "echo" else work.connections
        for name in names:
            if not takes_part(name, work):
                continue
            with start(name, work.does) as server, NativeLoad(server, work) as load:
                rates = [load.measure(seconds).rate for _ in range(SEARCHES)]
            most[name, work] = statistics.median(rates) / receivers
            progress(f"{name}, {work.name}: {most[name, work]:.0f} messages/s at most")
    return most


def cases(server: str, most: Most) -> Iterator[Case]:
    """Yield what is measured of a server."""
    for name, work in most:
        if name == server:
            if server == FLOOR:
                yield Case(server, work, most[OURS, work] * SHARE)
            yield Case(server, work, most[name, work] * SHARE)


def measure(case: Case, seconds: float) -> Figures:
    """Start the server, and have it get messages at that rate."""
    with start(case.server, case.work.does) as server, NativeLoad(server, case.work) as load:
        load.pace(max(1, round(case.rate * WARM_UP)), case.rate)
        figures = load.pace(max(1, round(case.rate * seconds)), case.rate)
    progress(
        f"{case.server}, {case.work.name}, {case.rate:.0f}/s: p50 {figures.p50 * 1e6:.0f} us,"
        f" p99 {figures.p99 * 1e6:.0f} us, late {figures.late_p99 * 1e6:.1f} us"
    )
    return figures


def run(options: argparse.Namespace) -> tuple[Most, Found]:
    """Find out the rates, and then measure all of them in turn, as often as asked."""
    names = [OURS, FLOOR, SPINNING, *options.servers]
    most = search(names, options.works, options.seconds / 2)
    found: Found = {}
    everybody = [Contender(name) for name in names]
    for contender in in_turn(everybody, options.rounds, options.peer_rounds):
        for case in cases(contender.name, most):
            found.setdefault(case, []).append(measure(case, options.seconds))
    return most, found


def of(figures: Sequence[Figures], value: str) -> list[float]:
    """Return a property of the figures, in microseconds."""
    return [getattr(one, value) * 1e6 for one in figures]


def row(case: Case, found: Mapping[Case, Sequence[Figures]], floor: Case) -> Sequence[str]:
    """Return the line of a table."""
    figures = found[case]

    def middle(value: str) -> float:
        return statistics.median(of(figures, value))

    p99 = of(figures, "p99")
    busy = statistics.median(one.server_busy for one in figures)
    return (
        case.server,
        f"{case.rate:.0f}",
        f"{busy * 100:.0f} %" if case.server != SPINNING else "",
        f"{middle('p50'):.0f}",
        f"{middle('p99'):.0f}",
        f"{min(p99):.0f} to {max(p99):.0f}",
        f"{middle('p999'):.0f}",
        f"{median_ratio(p99, of(found[floor], 'p99')):.2f}",
        f"{middle('late_p99'):.1f}",
        f"{middle('late_p999'):.1f}",
    )


def tables(work: Work, most: Most, found: Found) -> Iterator[Table]:
    """Yield those of a work: at the same rate, and everybody at its own."""
    ours, floor = (Case(name, work, most[OURS, work] * SHARE) for name in (OURS, FLOOR))
    same = Table(f"{work.name}: half of handy_ws's most, {most[OURS, work]:.0f}/s", COLUMNS)
    same.rows = [row(case, found, floor) for case in (ours, floor)]
    yield same
    own = [Case(name, work, rate * SHARE) for (name, one), rate in most.items() if one == work]
    (floor,) = (case for case in own if case.server == FLOOR)
    yield Table(
        f"{work.name}: half of everybody's own most",
        COLUMNS,
        [row(case, found, floor) for case in own],
    )


def verdict(work: Work, most: Most, found: Found) -> Verdict:
    """Say whether the goal is met."""
    ours, floor = (found[Case(name, work, most[OURS, work] * SHARE)] for name in (OURS, FLOOR))
    p99s = of(floor, "p99")
    ratio = median_ratio(of(ours, "p99"), p99s)
    late = median_ratio(of(floor, "late_p99"), p99s)
    return Verdict(
        f"{work.name}: p99 at half load at most {GOAL:g} x floor",
        f"{ratio:.2f} x floor, {statistics.median(of(ours, 'p99')):.0f} us;"
        f" of the floor's, the client was late for {late * 100:.0f} %",
        ratio <= GOAL and late <= LATE,
    )


def report(options: argparse.Namespace, most: Most, found: Found) -> Report:
    """Put it all together."""
    server_core, client_core = cores()
    settings = {name: value for name, value in vars(options).items() if name != "works"}
    return Report(
        "Latency at half load",
        {**settings, "server core": server_core, "client core": client_core},
        PACKAGES,
        [table for work in options.works for table in tables(work, most, found)],
        [NOTE.format(**vars(options))],
        [
            {
                "server": case.server,
                "work": dataclasses.asdict(case.work),
                "rate": case.rate,
                "most": most[case.server, case.work],
                "figures": [dataclasses.asdict(one) for one in figures],
            }
            for case, figures in found.items()
        ],
        [verdict(work, most, found) for work in options.works],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS, USUAL_PEERS)
    arguments.add_argument(
        "--works",
        nargs="+",
        type=work_named,
        metavar="WORK",
        default=list(WORKS),
        help="kind:connections:depth:size:payload, such as echo:64:1:32:binary",
    )
    arguments.add_argument("--rounds", type=whole_number, default=7)
    arguments.add_argument("--peer-rounds", type=whole_number, default=3, help="of other servers")
    arguments.add_argument("--seconds", type=float, default=1.0, help="for each in each round")
    options = arguments.parse_args()
    raise_file_limit(max(work.connections for work in options.works) + 100)
    report(options, *run(options)).publish(options.report)


if __name__ == "__main__":
    main()
