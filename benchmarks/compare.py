"""CPU time of servers for each message, beside each other and beside a floor.

Small servers (benchmarks/servers) send every message back to its connection, or to all of them; a
compiled client keeps messages in flight, a fixed number on each connection, and sees that all of
them come back with the size that they should have. The servers run on one core and the client on
another. They are started one after another, again and again; the figures are medians of these
rounds, and ratios are medians of the rounds' ratios.

"floor" is a server in Rust that checks nothing and calls nobody: what the system's calls cost that
no server can do without. The others are Python servers whose handler, in Python, gets each message
and sends it. They have no compression, no keepalive, no limits that matter, and no access log, and
the fastest event loop that they can have.

Without arguments it measures the works that handy_ws has goals for, and says whether they are met;
`--grid` measures many more, and draws how the costs grow. `--report` writes everything to a folder:
JSON, Markdown, and the pictures as SVG.
"""

from __future__ import annotations

import dataclasses
import statistics
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.native import native
from benchmarks.common.native_load import Figures, NativeLoad
from benchmarks.common.plots import draw
from benchmarks.common.process import Server, cores, raise_file_limit, running, started
from benchmarks.common.report import Report, Table, add_servers, parser, progress, whole_number
from benchmarks.common.works import GOALS, GRID, Work
from benchmarks.servers.peers import PACKAGES, PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

OURS, FLOOR = "handy_ws", "floor"
# Clients that are asked nothing for a while answer no PING.
QUIET = ("--ping-interval", "1000000")
NOTE = """\
Medians of {rounds} rounds ({peer_rounds} for the other servers) of about {seconds:g} s for each
work. CPU time is the server's, user and system, for each message, or for each delivery of one that
goes to all. "To floor" and "handy_ws to it" are medians of the rounds' ratios. Where the client was
busy all the time, the rate is the client's."""


@dataclasses.dataclass
class Contender:
    """A server, and what was found out about it."""

    name: str
    figures: dict[Work, list[Figures]] = dataclasses.field(default_factory=dict)

    def start(self, does: str) -> AbstractContextManager[Server]:
        """Start it, to do that."""
        if self.name == FLOOR:
            return started([native(FLOOR), does])
        if self.name == OURS:
            return running("serve_handy_ws", ("--does", does, *QUIET))
        peer = PEERS[self.name]
        return running(peer.module, (*peer.arguments, "--does", does))

    def costs(self, work: Work) -> list[float]:
        """Return the microseconds for each message, round by round."""
        return [one.microseconds for one in self.figures.get(work, ())]

    def median(self, work: Work, value: str) -> float:
        """Return the median of a property of the figures."""
        return float(statistics.median(getattr(one, value) for one in self.figures[work]))


def ratio(one: Contender, other: Contender, work: Work) -> float:
    """Return how many times what the other one needs one needs, in the rounds that both had."""
    pairs = zip(one.costs(work), other.costs(work), strict=False)
    return statistics.median(a / b for a, b in pairs)


def measure(contender: Contender, works: Sequence[Work], seconds: float) -> None:
    """Measure a server with all works, a process for each thing that it has to do."""
    for does, group in groupby(works, key=lambda work: work.does):
        with contender.start(does) as server:
            for work in group:
                with NativeLoad(server, work) as load:
                    figures = load.measure(seconds)
                contender.figures.setdefault(work, []).append(figures)
                progress(
                    f"{contender.name}, {work.name}: {figures.microseconds:.3f} us CPU,"
                    f" {figures.rate:.0f}/s"
                )


def run(options: argparse.Namespace) -> list[Contender]:
    """Measure all of them in turn, as often as asked."""
    found = [Contender(OURS), Contender(FLOOR), *(Contender(name) for name in options.servers)]
    works = sorted(options.works)
    for number in range(options.rounds):
        progress(f"round {number + 1} of {options.rounds}")
        takes_part = found if number < options.peer_rounds else found[:2]
        # Back and forth, so that nobody always comes after the same one.
        for contender in takes_part[:: -1 if number % 2 else 1]:
            measure(contender, works, options.seconds)
    return found


def goal_table(found: Sequence[Contender], works: Sequence[Work]) -> Table:
    """Return how far the goals are met."""
    table = Table(
        "Goals",
        ("work", "floor, us", "handy_ws, us", "to floor", "least to most", "goal", "met"),
    )
    ours, floor = found[:2]
    for work in works:
        if work in GOALS:
            ratios = [a / b for a, b in zip(ours.costs(work), floor.costs(work), strict=True)]
            cost, middle = ours.median(work, "microseconds"), statistics.median(ratios)
            table.rows.append(
                (
                    work.name,
                    f"{floor.median(work, 'microseconds'):.3f}",
                    f"{cost:.3f}",
                    f"{middle:.3f}",
                    f"{min(ratios):.3f} to {max(ratios):.3f}",
                    str(GOALS[work]),
                    "yes" if GOALS[work].is_met(middle, cost) else "NO",
                )
            )
    return table


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
        costs = contender.costs(work)
        table.rows.append(
            (
                contender.name,
                f"{statistics.median(costs):.3f}",
                f"{min(costs):.3f} to {max(costs):.3f}",
                f"{ratio(contender, floor, work):.2f}",
                f"{ratio(ours, contender, work):.2f}",
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
        for peer in found[2:]:
            times = ratio(ours, peer, work)
            if times >= 1:
                yield f"{work.name}: {times:.2f} times what {peer.name} needs"


def report(options: argparse.Namespace, found: Sequence[Contender]) -> Report:
    """Put it all together."""
    works = sorted(options.works)
    server_core, client_core = cores()
    notes = [NOTE.format(**vars(options))]
    if found[2:]:
        lines = list(behind(found, works))
        notes.append(f"Ahead of all others: {'NO' if lines else 'yes'}. {'; '.join(lines)}".strip())
    settings = {"server core": server_core, "client core": client_core}
    settings |= {name: getattr(options, name) for name in ("servers", "rounds", "peer_rounds")}
    settings["seconds"] = options.seconds
    return Report(
        "Messages",
        settings,
        PACKAGES,
        [goal_table(found, works), *(work_table(found, work) for work in works)],
        notes,
        [
            {
                "server": contender.name,
                "work": dataclasses.asdict(work),
                "figures": [dataclasses.asdict(one) for one in figures],
            }
            for contender in found
            for work, figures in contender.figures.items()
        ],
    )


def work_named(text: str) -> Work:
    """Read a work as the client is told of it, for `argparse`: ``echo:64:1:32:binary``."""
    kind, *numbers, payload = text.split(":")
    connections, depth, size = map(whole_number, numbers)
    return Work(kind, connections, depth, size, payload)


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
    arguments.add_argument("--report", type=Path, help="a folder to write everything to")
    arguments.set_defaults(works=list(GOALS))
    options = arguments.parse_args()
    raise_file_limit(max(work.connections for work in options.works) + 100)
    found = run(options)
    report(options, found).publish(options.report)
    if options.report:
        costs = {
            contender.name: {work: contender.costs(work) for work in options.works}
            for contender in found
        }
        names = draw(costs, sorted(options.works), options.report)
        progress(f"{options.report}: {', '.join(names)}")


if __name__ == "__main__":
    main()
