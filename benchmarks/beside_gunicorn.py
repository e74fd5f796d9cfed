"""Sockets that gunicorn's workers have given away: 2,000 of them, and four threads that are free.

Gunicorn runs one worker process with four threads. 2,000 clients connect through a view that calls
`WebSocketManager.upgrade`, and stay. Then, and before for comparison:

- ordinary requests, one after the other, each on a connection of its own;
- as many requests as there are threads, which are all answered when they all run at once: no thread
  can be missing;
- broadcasts by an ordinary request, until the last client has got each;
- an echo for every client.

The latencies are those of gunicorn's, Python's and this client's work on one core each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import select
import statistics
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.process import Server, raise_file_limit, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import TEXT, ProtocolError, frame

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 60.0


@dataclasses.dataclass
class Outcome:
    """What was measured with so many sockets open. Times are in seconds."""

    connections: int
    opening: float
    requests: list[float]
    all_threads: float
    broadcasts: list[float]
    threads: int
    worker_bytes: int


def get(address: tuple[str, int], path: str) -> str:
    """Return what a path answers.

    Raises:
        ProtocolError: it was not 200.
    """
    connection = http.client.HTTPConnection(*address, timeout=_PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != http.HTTPStatus.OK:
            raise ProtocolError(f"{path} was answered with {response.status}: {body}")
        return body


def timed(address: tuple[str, int], path: str) -> float:
    """Return how long a request takes."""
    start = time.perf_counter()
    get(address, path)
    return time.perf_counter() - start


def occupy_all_threads(address: tuple[str, int], threads: int) -> float:
    """Have all threads of the worker run at once; return how long it took until they did.

    Raises:
        ProtocolError: they did not.
    """
    answers: list[str] = []
    start = time.perf_counter()
    requests = [
        threading.Thread(target=lambda: answers.append(get(address, "/together")))
        for _ in range(threads)
    ]
    for request in requests:
        request.start()
    for request in requests:
        request.join()
    if answers != ["all"] * threads:
        raise ProtocolError(f"only {len(answers)} of {threads} threads were free")
    return time.perf_counter() - start


def broadcast(address: tuple[str, int], clients: Sequence[Client], text: str) -> float:
    """Broadcast by a request; return how long it took until all clients had it."""
    waiting = {client.socket.fileno(): client for client in clients}
    start = time.perf_counter()
    get(address, f"/broadcast?text={text}")
    with select.epoll() as poll:
        for descriptor in waiting:
            poll.register(descriptor, select.EPOLLIN)
        while waiting:
            events = poll.poll(_PATIENCE)
            if not events:
                raise ProtocolError(f"{len(waiting)} clients have got no {text!r}")
            for descriptor, _ in events:
                expect(waiting.pop(descriptor), text)
                poll.unregister(descriptor)
    return time.perf_counter() - start


def expect(client: Client, text: str) -> None:
    """Read a message, which must be this one."""
    message = client.read_message()
    if (message.opcode, message.payload) != (TEXT, text.encode()):
        raise ProtocolError(f"a client has got {message.payload!r} instead of {text!r}")


def measure(address: tuple[str, int], connections: int, threads: int, rounds: int) -> Outcome:
    """Open connections, and measure everything else while they are open."""
    worker = Server(int(get(address, "/process")), address[1])
    with contextlib.ExitStack() as stack:
        start = time.perf_counter()
        clients = [stack.enter_context(Client(address)) for _ in range(connections)]
        opening = time.perf_counter() - start
        if get(address, "/count") != str(connections):
            raise ProtocolError("a connection is missing")
        for number, client in enumerate(clients):
            client.socket.sendall(frame(TEXT, str(number).encode()))
        for number, client in enumerate(clients):
            expect(client, str(number))
        requests = [timed(address, "/") for _ in range(rounds)]
        all_threads = occupy_all_threads(address, threads)
        broadcasts = [broadcast(address, clients, str(number)) for number in range(rounds // 10)]
        outcome = Outcome(
            connections,
            opening,
            requests,
            all_threads,
            broadcasts if clients else [],
            int(get(address, "/threads")),
            worker.anonymous_bytes(),
        )
        for client in clients:
            client.close()
    return outcome


def row(outcome: Outcome) -> Sequence[str]:
    """Return the line of the table."""
    count, broadcasts = outcome.connections, outcome.broadcasts
    return (
        str(count),
        f"{outcome.opening / count * 1e6:.0f}" if count else "",
        f"{statistics.median(outcome.requests) * 1e3:.2f}",
        f"{max(outcome.requests) * 1e3:.2f}",
        f"{outcome.all_threads * 1e3:.1f}",
        f"{statistics.median(broadcasts) * 1e3:.1f}" if broadcasts else "",
        f"{max(broadcasts) * 1e3:.1f}" if broadcasts else "",
        str(outcome.threads),
        f"{outcome.worker_bytes / 2**20:.1f}",
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=whole_number, default=2000)
    arguments.add_argument("--threads", type=whole_number, default=4)
    arguments.add_argument("--rounds", type=whole_number, default=500, help="ordinary requests")
    options = arguments.parse_args()
    raise_file_limit(options.connections + 100)
    columns = (
        "sockets",
        "opening, us each",
        "request, ms: median",
        "worst",
        "all threads at once, ms",
        "broadcast to all, ms: median",
        "worst",
        "threads",
        "worker, MiB",
    )
    table = Table(f"gunicorn with {options.threads} threads", columns)
    packages = ("handy-ws", "gunicorn")
    report = Report("Beside gunicorn", vars(options), packages, tables=[table])
    with running("serve_beside", ("--threads", str(options.threads))) as server:
        for connections in (0, options.connections):
            outcome = measure(server.address, connections, options.threads, options.rounds)
            table.rows.append(row(outcome))
            report.data.append(dataclasses.asdict(outcome))
            progress(" ".join(table.rows[-1]))
    report.notes.append("All clients were open, and echoed, while the second line was measured.")
    report.publish(options.report)


if __name__ == "__main__":
    main()
