"""How the CPU time for each message grows with the number of connections, beside a floor.

Messages of 32 bytes are sent back, one in flight on each connection, and messages of 128 bytes are
broadcast, one at a time: with 100 connections, and with 10,000. More connections cost any server
more, since the caches of the processor and the kernel's tables do not grow with them. So what
counts is how many times as much handy_ws needs, beside how many times as much "floor" needs, a
server in Rust that checks nothing and calls nobody.

Goal: handy_ws' growth at most 1.3 times the floor's.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from benchmarks.common.process import cores, raise_file_limit
from benchmarks.common.report import Report, Table, Verdict, add_servers, parser, whole_number
from benchmarks.common.turns import FLOOR, OURS, Contender, median_ratio, take_turns
from benchmarks.common.works import Work
from benchmarks.servers.peers import PACKAGES, PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

GOAL = 1.3
KINDS = (("echo", 32), ("broadcast", 128))
NOTE = """\
Microseconds of the server's CPU time for each message, or for each delivery of a broadcast: medians
of {rounds} rounds ({peer_rounds} for other servers) of about {seconds:g} s. "Growth" and "to
floor's" are medians of the rounds' ratios."""


def works(kind: str, size: int, counts: Sequence[int]) -> list[Work]:
    """Return what is compared: the same with few connections, and with many."""
    return [Work(kind, count, 1, size) for count in sorted(counts)]


def growth(contender: Contender, few: Work, many: Work) -> list[float]:
    """Return how many times as much it needs with many connections, round by round."""
    pairs = zip(contender.costs(few), contender.costs(many), strict=True)
    return [dear / cheap for cheap, dear in pairs]


def table(found: Sequence[Contender], few: Work, many: Work) -> Table:
    """Return everybody's figures for one kind of work."""
    columns = (
        "server",
        f"{few.connections}, us",
        f"{many.connections}, us",
        "growth",
        "to floor's",
    )
    floors = growth(found[1], few, many)
    rows: list[Sequence[str]] = []
    for contender in found:
        ratios = growth(contender, few, many)
        rows.append(
            (
                contender.name,
                f"{contender.median(few, 'microseconds'):.3f}",
                f"{contender.median(many, 'microseconds'):.3f}",
                f"{statistics.median(ratios):.2f}",
                f"{median_ratio(ratios, floors):.2f}",
            )
        )
    return Table(f"{few.kind}, {few.size} B, by connections", columns, rows)


def verdict(found: Sequence[Contender], few: Work, many: Work) -> Verdict:
    """Say whether the goal is met."""
    ours, floor = (growth(contender, few, many) for contender in found[:2])
    ratio = median_ratio(ours, floor)
    return Verdict(
        f"{few.kind}, {few.size} B: growth from {few.connections} to {many.connections}"
        f" connections at most {GOAL:g} x floor's",
        f"{ratio:.2f} x floor's ({statistics.median(ours):.2f} to {statistics.median(floor):.2f})",
        ratio <= GOAL,
    )


def report(options: argparse.Namespace, found: Sequence[Contender]) -> Report:
    """Put it all together."""
    pairs = [works(kind, size, options.connections) for kind, size in KINDS]
    server_core, client_core = cores()
    return Report(
        "Growth",
        {**vars(options), "server core": server_core, "client core": client_core},
        PACKAGES,
        [table(found, *pair) for pair in pairs],
        [NOTE.format(**vars(options))],
        [
            {
                "server": contender.name,
                "work": dataclasses.asdict(work),
                "figures": [dataclasses.asdict(one) for one in figures],
            }
            for contender in found
            for work, figures in contender.figures.items()
        ],
        [verdict(found, *pair) for pair in pairs],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS, default=())
    arguments.add_argument("--connections", nargs=2, type=whole_number, default=[100, 10_000])
    arguments.add_argument("--rounds", type=whole_number, default=7)
    arguments.add_argument("--peer-rounds", type=whole_number, default=3, help="of other servers")
    arguments.add_argument("--seconds", type=float, default=1.0, help="for each work in each round")
    options = arguments.parse_args()
    raise_file_limit(max(options.connections) + 100)
    found = [Contender(name) for name in (OURS, FLOOR, *options.servers)]
    everything = [work for kind, size in KINDS for work in works(kind, size, options.connections)]
    take_turns(found, everything, options)
    report(options, found).publish(options.report)


if __name__ == "__main__":
    main()
