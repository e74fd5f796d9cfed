"""CPU time of servers for each message, beside each other and beside a floor.

Small servers (benchmarks/servers) send every message back to its connection, or to all of them; a
compiled client keeps messages in flight, a fixed number on each connection, and sees that all of
them come back with the size that they should have. The servers run on one core and the client on
another, in rounds: handy_ws and the floor at the same time, asked in turn, and the others one after
another. The figures are medians of the rounds, and ratios are medians of the rounds' ratios.

"floor" is a server in Rust that checks nothing and calls nobody: what the system's calls cost that
no server can do without. The others are Python servers whose handler, in Python, gets each message
and sends it. They have no compression, no keepalive, no limits that matter, and no access log, and
the fastest event loop that they can have.

"handy_ws, from a thread" is handy_ws where not the callback broadcasts, but another thread that it
hands each message to.

Without arguments it measures the works that handy_ws has goals for, and says whether they are met;
`--grid` measures many more, and draws how the costs grow. `--report` writes everything to a folder:
JSON, Markdown, and the pictures as SVG.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from benchmarks.common.plots import draw
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
from benchmarks.common.turns import FLOOR, OURS, THREADED, Contender, median_ratio, take_turns
from benchmarks.common.works import GOALS, GRID, SHOWN, Work, work_named
from benchmarks.servers.peers import PACKAGES, PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

NOTE = """\
Medians of {rounds} rounds ({peer_rounds} for the other servers) of about {seconds:g} s for each
work. CPU time is the server's, user and system, for each message, or for each delivery of one that
goes to all. "To floor" and "handy_ws to it" are medians of the rounds' ratios. In a round handy_ws
and the floor run at the same time and are asked in turn. Where the client was busy all the time,
the rate is the client's."""


def run(options: argparse.Namespace) -> list[Contender]:
    """Measure all of them in turn, as often as asked."""
    found = [Contender(name) for name in (OURS, FLOOR, *options.servers)]
    if any(work.kind == "broadcast" for work in options.works):
        found.append(Contender(THREADED))
    take_turns(found, options.works, options)
    return found


def verdicts(found: Sequence[Contender], works: Sequence[Work]) -> Iterator[Verdict]:
    """Yield how far the goals are met."""
    ours, floor = found[:2]
    for work in works:
        if work in GOALS:
            ratios = [a / b for a, b in zip(ours.costs(work), floor.costs(work), strict=True)]
            cost, middle = ours.median(work, "microseconds"), statistics.median(ratios)
            yield Verdict(
                f"{work.name}: CPU time at most {GOALS[work]}",
                f"{middle:.3f} x floor ({min(ratios):.3f} to {max(ratios):.3f}), {cost:.3f} us",
                GOALS[work].is_met(middle, cost),
            )
    if peers(found):
        lines = list(behind(found, works))
        yield Verdict("messages: less CPU time than all others", "; ".join(lines), not lines)


def goal_table(verdicts: Sequence[Verdict]) -> Table:
    """Return them for people."""
    rows: list[Sequence[str]] = [
        (one.goal, one.figure, "yes" if one.is_met else "NO") for one in verdicts
    ]
    return Table("Goals", ("goal", "handy_ws", "met"), rows)


def peers(found: Sequence[Contender]) -> list[Contender]:
    """Return the other servers."""
    return [contender for contender in found if contender.name in PEERS]


def work_table(found: Sequence[Contender], work: Work) -> Table:
    """Return everybody's figures for one work."""
    table = Table(
        work.name,
        (
            "server",
            "CPU, us",
            "least to most",
            "to floor",
            "handy_ws to it",
            "messages/s",
            "p50, ms",
            "p99, ms",
            "client busy",
        ),
    )
    ours, floor = found[:2]
    for contender in found:
        if work not in contender.figures:
            continue
        costs = contender.costs(work)
        table.rows.append(
            (
                contender.name,
                f"{statistics.median(costs):.3f}",
                f"{min(costs):.3f} to {max(costs):.3f}",
                f"{median_ratio(costs, floor.costs(work)):.2f}",
                f"{median_ratio(ours.costs(work), costs):.2f}",
                f"{contender.median(work, 'rate'):.0f}",
                f"{contender.median(work, 'p50') * 1e3:.2f}",
                f"{contender.median(work, 'p99') * 1e3:.2f}",
                f"{contender.median(work, 'client_busy') * 100:.0f} %",
            )
        )
    return table


def behind(found: Sequence[Contender], works: Sequence[Work]) -> Iterator[str]:
    """Yield what handy_ws is not ahead in."""
    ours = found[0]
    for work in works:
        for peer in peers(found):
            times = median_ratio(ours.costs(work), peer.costs(work))
            if times >= 1:
                yield f"{work.name}: {times:.2f} times what {peer.name} needs"


def report(options: argparse.Namespace, found: Sequence[Contender]) -> Report:
    """Put it all together."""
    works = sorted(options.works)
    server_core, client_core = cores()
    goals = list(verdicts(found, works))
    settings = {"server core": server_core, "client core": client_core}
    settings |= {name: getattr(options, name) for name in ("servers", "rounds", "peer_rounds")}
    settings["seconds"] = options.seconds
    return Report(
        "Messages",
        settings,
        PACKAGES,
        [*([goal_table(goals)] if goals else []), *(work_table(found, work) for work in works)],
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
        goals,
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS)
    which = arguments.add_mutually_exclusive_group()
    which.add_argument("--grid", dest="works", action="store_const", const=GRID)
    which.add_argument(
        "--works",
        nargs="+",
        type=work_named,
        metavar="WORK",
        help="kind:connections:depth:size:payload, such as echo:64:1:32:binary",
    )
    arguments.add_argument("--rounds", type=whole_number, default=7)
    arguments.add_argument("--peer-rounds", type=whole_number, default=3, help="of other servers")
    arguments.add_argument("--seconds", type=float, default=1.0, help="for each work in each round")
    arguments.set_defaults(works=SHOWN)
    options = arguments.parse_args()
    raise_file_limit(max(work.connections for work in options.works) + 100)
    found = run(options)
    report(options, found).publish(options.report)
    if options.report:
        costs = {
            contender.name: {work: contender.costs(work) for work in options.works}
            for contender in found
            if contender.name != THREADED  # it has no part in most of the works
        }
        names = draw(costs, sorted(options.works), options.report)
        progress(f"{options.report}: {', '.join(names)}")


if __name__ == "__main__":
    main()
