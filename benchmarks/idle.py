"""What connections cost a handy_ws server on which nothing happens: CPU time and context switches.

5,000 clients connect and say nothing. First the server sends no PINGs while it is measured, then
one to each client in every 20 seconds, which is the default, and the clients answer.

Goal: without PINGs less than 0.05 % of a core. It is not quite 0, and there is a context switch a
second, because the main thread looks for signals that often.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.process import raise_file_limit, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import PING, PONG, ProtocolError, frame, parse_header

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER, DEFAULT = 1e6, 20.0
GOAL = 0.0005
READ_SIZE = 1 << 12


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the server has done in that time."""

    ping_interval: float
    seconds: float
    cpu_seconds: float
    switches: int
    pings: int


def answer(clients: Sequence[Client], seconds: float) -> int:
    """Answer PINGs for that time; return how many.

    Raises:
        ProtocolError: something else has come.
    """
    by_descriptor = {client.socket.fileno(): client.socket for client in clients}
    count = 0
    with select.epoll() as poll:
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left):
                data = by_descriptor[descriptor].recv(READ_SIZE)
                header = parse_header(data)
                if header is None or header[0] & 0x0F != PING:
                    raise ProtocolError(f"a client that says nothing was sent {data!r}")
                _, start, length = header
                by_descriptor[descriptor].sendall(frame(PONG, data[start : start + length]))
                count += 1
    return count


def run(ping_interval: float, connections: int, seconds: int) -> Outcome:
    """Let clients be connected, and measure the server."""
    arguments = ("--ping-interval", str(ping_interval))
    with running("serve_handy_ws", arguments) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(connections)]
        answer(clients, min(ping_interval, seconds))  # so that what was begun is over
        before, switches = server.cpu_seconds(), server.context_switches()
        start = time.perf_counter()
        pings = answer(clients, seconds)
        elapsed = time.perf_counter() - start
        switches = server.context_switches() - switches
        return Outcome(ping_interval, elapsed, server.cpu_seconds() - before, switches, pings)


def row(outcome: Outcome) -> Sequence[str]:
    """Return the line of the table."""
    is_quiet = outcome.pings == 0
    return (
        "no PINGs" if is_quiet else f"PINGs every {outcome.ping_interval:g} s",
        f"{outcome.seconds:.0f}",
        str(outcome.pings),
        f"{outcome.cpu_seconds / outcome.seconds * 100:.3f}",
        f"{outcome.switches / outcome.seconds:.1f}",
        f"{outcome.cpu_seconds / outcome.pings * 1e6:.1f}" if outcome.pings else "",
        ("yes" if outcome.cpu_seconds / outcome.seconds < GOAL else "NO") if is_quiet else "",
    )


def main() -> None:
    """Read the command line, wait, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=whole_number, default=5000)
    arguments.add_argument("--seconds", type=whole_number, default=20)
    options = arguments.parse_args()
    raise_file_limit(options.connections + 100)
    columns = (
        "server",
        "seconds",
        "PINGs",
        "CPU, % of a core",
        "context switches/s",
        "us a PING",
        f"< {GOAL * 100:g} %",
    )
    table = Table(f"{options.connections} idle connections", columns)
    report = Report("Idle connections", vars(options), tables=[table])
    for ping_interval in (NEVER, DEFAULT):
        outcome = run(ping_interval, options.connections, options.seconds)
        table.rows.append(row(outcome))
        report.data.append(dataclasses.asdict(outcome))
        progress(" ".join(table.rows[-1]))
    report.publish()


if __name__ == "__main__":
    main()
