"""CPU time of a server for each HTTP request with a short answer, beside other servers.

wrk, a client in C, keeps a request in flight on each of 64 connections for some seconds. What
counts is how many requests a server answers for each second of its CPU time, that of all its
processes, user and system. The servers, small programs in benchmarks/servers, have no access log
and one process that serves. They are started one after another, again and again; the figures are
medians of these rounds.

waitress, gunicorn (its gthread workers), cheroot and handy_ws's `WsgiHandler` run the same WSGI
application. A second handy_ws answers with the same text by a handler of its own. Each has as many
threads as is usual for it: handy_ws 25, waitress 4, gunicorn 4, cheroot 10; `--threads` gives all
of them the same number. cheroot's limit of 10 connections that are kept alive is raised.

It is measured in two ways: with connections that are kept alive, and with `Connection: close`, a
new connection for each request.

The latencies are those of a server that has as much to do as it can, with 64 clients that wait.

Goal: more requests for each CPU second than any of the others, with both kinds of connection.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from benchmarks.common import wrk
from benchmarks.common.process import cores, running
from benchmarks.common.report import Report, Table, add_servers, parser, progress, whole_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

OURS, NATIVE = "handy_ws, WSGI", "handy_ws, handler"
PEERS = ("waitress", "gunicorn", "cheroot")
PACKAGES = ("handy-ws", "werkzeug", *PEERS)
MODES: dict[str, Sequence[str]] = {"keep-alive": (), "close": ("Connection: close",)}
NOTE = """\
{connections} connections, {rounds} rounds of {seconds} s each. "handy_ws to it" is the median of
the rounds' ratios of requests per CPU second, that of `WsgiHandler` to that of the row. "Busy" is
the part of the time for which a process was running: where wrk's is near 100 %, it bounds the
requests/s; where both are low, other programs had the cores meanwhile."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server, and how it is started."""

    name: str
    module: str
    arguments: Sequence[str] = ()


@dataclasses.dataclass
class Result:
    """What was found out about one of them."""

    server: str
    figures: dict[str, list[wrk.Figures]] = dataclasses.field(default_factory=dict)  # by mode

    def costs(self, mode: str) -> list[float]:
        """Return how many requests it has answered for each CPU second, round by round."""
        return [one.per_cpu_second for one in self.figures[mode]]

    def median(self, mode: str, value: str) -> float:
        """Return the median over the rounds."""
        return float(statistics.median(getattr(one, value) for one in self.figures[mode]))


def contenders(peers: Sequence[str], threads: int | None) -> list[Contender]:
    """Return all that shall be measured, `WsgiHandler` first."""
    given = () if threads is None else ("--threads", str(threads))
    return [
        Contender(OURS, "serve_http", ("--handler", "wsgi", *given)),
        Contender(NATIVE, "serve_http", ("--handler", "function", *given)),
        *(Contender(name, f"serve_{name}", given) for name in PEERS if name in peers),
    ]


def run(options: argparse.Namespace) -> list[Result]:
    """Measure all of them in turn, as often as asked."""
    chosen = contenders(options.servers, options.threads)
    results = {one: Result(one.name) for one in chosen}
    for number in range(options.rounds):
        # Back and forth, so that nobody always comes after the same one.
        for contender in chosen[:: -1 if number % 2 else 1]:
            with running(contender.module, contender.arguments) as server:
                for mode in options.modes:
                    wrk.measure(server, options.connections, options.warm_up, MODES[mode])
                    figures = wrk.measure(server, options.connections, options.seconds, MODES[mode])
                    results[contender].figures.setdefault(mode, []).append(figures)
                    progress(
                        f"round {number + 1} of {options.rounds}, {contender.name}, {mode}: "
                        f"{figures.per_cpu_second:.0f} requests/CPU s, {figures.rate:.0f}/s, "
                        f"p99 {figures.p99 * 1e3:.1f} ms"
                    )
    return list(results.values())


def cost_table(results: Sequence[Result], mode: str) -> Table:
    """Return the figures with one kind of connection."""
    table = Table(
        f"Connections: {mode}",
        (
            "server",
            "requests/CPU s",
            "least to most",
            "CPU, us/request",
            "handy_ws to it",
            "requests/s",
            "p50, ms",
            "p99, ms",
            "server busy",
            "wrk busy",
        ),
    )
    ours = results[0].costs(mode)
    for result in results:
        costs = result.costs(mode)
        ratio = statistics.median(a / b for a, b in zip(ours, costs, strict=True))
        table.rows.append(
            (
                result.server,
                f"{statistics.median(costs):.0f}",
                f"{min(costs):.0f} to {max(costs):.0f}",
                f"{result.median(mode, 'microseconds'):.1f}",
                f"{ratio:.2f}",
                f"{result.median(mode, 'rate'):.0f}",
                f"{result.median(mode, 'p50') * 1e3:.2f}",
                f"{result.median(mode, 'p99') * 1e3:.2f}",
                f"{result.median(mode, 'server_busy'):.0%}",
                f"{result.median(mode, 'client_busy'):.0%}",
            )
        )
    return table


def goal(results: Sequence[Result], modes: Sequence[str]) -> str:
    """Return a line for each kind of connection: whether `WsgiHandler` is ahead of all others."""
    lines = []
    for mode in modes:
        ours, _, *others = (statistics.median(result.costs(mode)) for result in results)
        if others:
            met = "yes" if ours > max(others) else "NO"
            lines.append(f"Ahead of all others, {mode}: {met}.")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS)
    arguments.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    arguments.add_argument("--threads", type=whole_number, help="of each server; default its own")
    arguments.add_argument("--connections", type=whole_number, default=64)
    arguments.add_argument("--rounds", type=whole_number, default=5)
    arguments.add_argument("--seconds", type=whole_number, default=3, help="that count, each time")
    arguments.add_argument("--warm-up", type=whole_number, default=1, help="seconds before those")
    options = arguments.parse_args()
    wrk.find_wrk()
    results = run(options)
    server_core, client_core = cores()
    Report(
        "HTTP requests",
        {**vars(options), "server core": server_core, "client core": client_core},
        PACKAGES,
        [cost_table(results, mode) for mode in options.modes],
        [NOTE.format(**vars(options)), goal(results, options.modes)],
        [dataclasses.asdict(result) for result in results],
    ).publish(options.report)


if __name__ == "__main__":
    main()
