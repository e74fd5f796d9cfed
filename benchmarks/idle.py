"""What connections cost a server on which nothing happens: CPU time, and memory.

5,000 clients connect to handy_ws and say nothing. First the server sends no PINGs while it is
measured, then one to each client in every 20 seconds, which is the default, and the clients answer.
Then it is measured how much the anonymous memory of servers (heap and stacks; the kernel's socket
buffers are not in it) grows by 1,000 clients, and by 10,000, each of which has sent a short text
and got it back, without compression.

Goals: without PINGs less than 0.05 % of a core; it is not quite 0, and there is a context switch a
second, because the main thread looks for signals that often. At most 1.5 KB for each connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.process import raise_file_limit, running
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
from benchmarks.servers.peers import PACKAGES, PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEVER, DEFAULT = 1e6, 20.0
GOAL, BYTES_GOAL = 0.0005, 1500
USUAL_PEERS = ("websockets", "aiohttp", "picows")
EARLIER = 100  # connections, so that what is made once is there
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


def memory(name: str, counts: Sequence[int]) -> dict[int, float]:
    """Return the bytes for each connection of a server, by the number of connections."""
    found = {}
    with start(name, "echo") as server, contextlib.ExitStack() as stack:

        def connect() -> None:
            client = stack.enter_context(Client(server.address))
            client.echo(frame(TEXT, b"hello"))

        for _ in range(EARLIER):
            connect()
        server.cpu_seconds()  # waits until it sleeps
        before, opened = server.anonymous_bytes(), 0
        for count in sorted(counts):
            for _ in range(count - opened):
                connect()
            opened = count
            server.cpu_seconds()
            found[count] = (server.anonymous_bytes() - before) / count
    progress(f"{name}: " + ", ".join(f"{size:.0f} B at {count}" for count, size in found.items()))
    return found


def memory_table(found: dict[str, dict[int, float]]) -> Table:
    """Return the bytes for each connection."""
    counts = list(found[OURS])
    columns = ("server", *(f"{count} connections, B each" for count in counts))
    rows: list[Sequence[str]] = [
        (name, *(f"{sizes[count]:.0f}" for count in counts)) for name, sizes in found.items()
    ]
    return Table("Memory of idle connections", columns, rows)


def verdicts(outcomes: Sequence[Outcome], sizes: dict[int, float]) -> Iterator[Verdict]:
    """Yield which goals are met."""
    for outcome in outcomes:
        if outcome.pings == 0:
            part = outcome.cpu_seconds / outcome.seconds
            goal = f"idle connections: less than {GOAL * 100:g} % of a core"
            yield Verdict(goal, f"{part * 100:.3f} %", part < GOAL)
    for count, size in sizes.items():
        goal = f"{count} idle connections: at most {BYTES_GOAL} B each"
        yield Verdict(goal, f"{size:.0f} B", size <= BYTES_GOAL)


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
    add_servers(arguments, PEERS, USUAL_PEERS)
    arguments.add_argument("--connections", type=whole_number, default=5000)
    arguments.add_argument("--seconds", type=whole_number, default=20)
    arguments.add_argument(
        "--crowds", nargs="+", type=whole_number, default=[1000, 10_000], help="whose memory counts"
    )
    options = arguments.parse_args()
    raise_file_limit(max(options.connections, *options.crowds) + EARLIER + 100)
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
    outcomes = []
    for ping_interval in (NEVER, DEFAULT):
        outcomes.append(run(ping_interval, options.connections, options.seconds))
        table.rows.append(row(outcomes[-1]))
        progress(" ".join(table.rows[-1]))
    sizes = {name: memory(name, options.crowds) for name in (OURS, *options.servers)}
    data = [dataclasses.asdict(outcome) for outcome in outcomes]
    data += [{"server": name, "bytes_per_connection": found} for name, found in sizes.items()]
    goals = list(verdicts(outcomes, sizes[OURS]))
    tables = [table, memory_table(sizes)]
    report = Report("Idle connections", vars(options), PACKAGES, tables, [], data, goals)
    report.publish(options.report)


if __name__ == "__main__":
    main()
