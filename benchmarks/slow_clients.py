"""What 10,000 clients cost that connect and do not get on: memory, and the delay for others.

A quarter of them each:

  silent     connects and sends nothing
  dribbling  sends a byte of a request head every second
  half       has sent half of a WebSocket handshake
  idle       has had the answer to its first request, and sends no second one

Over TLS (`--tls`) "dribbling" sends a ClientHello, a byte every second, and "half" has sent a whole
one, has got what the server says to it, and does not go on.

One after another they connect to a handy_ws server, and then wait until it lets them go: all have
the same time, `--timeout`, which is the server's `head_timeout` and `keep_alive_timeout`. All the
while another client sends one request after another, each on a new connection, and takes the time
from before it connects until it has the whole answer. (It is the same program that plays the slow
clients, one thread; what it does for them it does between two requests.)

Memory is the growth of the server's process while the clients of a kind connect, for each of them.
The sockets' own memory belongs to the kernel and is not in it.

Goals: every request is answered within 100 ms, and all connections are gone within a second after
their deadlines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.common.certificates import Certificate, certificate
from benchmarks.common.process import Server, raise_file_limit, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import ProtocolError, request_head

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

LATENCY_GOAL, LATENESS_GOAL = 0.1, 1.0
PATIENCE = 30.0
PAUSE = 0.002  # between two requests, seconds
PROBE_EVERY = 20  # connections, while they come
PROBES_BEFORE = 200
READ_SIZE = 1 << 16
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
ENDLESS_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"x" * 1000
HALF_HANDSHAKE = request_head("")[:100]
NOTE = """\
{connections} connections, each of which may wait for {timeout} s. "Before" is without any of them,
"coming" while they connect, "waiting" until the first is gone, "going" until the last is."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a slow client does.

    Attributes:
        name: see the documentation of this program.
        begins: what it sends at once.
        dribbles: what it sends then, a byte every second.
        is_answered: whether it waits for an answer to what it sends at once.
    """

    name: str
    begins: bytes = b""
    dribbles: bytes = b""
    is_answered: bool = False


def kinds(tls: Certificate | None) -> Sequence[Kind]:
    """Return what there is of them, without TLS or with it."""
    return (
        Kind("silent"),
        Kind("dribbling", dribbles=ENDLESS_HEAD if tls is None else tls.hello()),
        Kind("half", begins=HALF_HANDSHAKE if tls is None else tls.hello()),
        Kind("idle", begins=REQUEST, is_answered=True),
    )


@dataclasses.dataclass
class Slow:
    """A slow client that is connected.

    Attributes:
        due: when the server is to let it go, by the monotonic clock.
        sent: how many bytes it has dribbled.
    """

    kind: Kind
    socket: socket.socket
    due: float
    sent: int = 0


class Crowd:
    """The slow clients that are connected, and how late those were let go that are not."""

    def __init__(
        self, address: tuple[str, int], timeout: float, tls: Certificate | None = None
    ) -> None:
        self.waiting: dict[int, Slow] = {}
        self.lateness: dict[str, list[float]] = {}
        self._address = address
        self._timeout = timeout
        self._tls = tls
        self._poll = select.epoll()
        self._dribbling: list[Slow] = []
        self._owed = 0.0  # bytes to be dribbled
        self._dribbled_at = time.monotonic()
        self._next = 0

    def add(self, kind: Kind) -> None:
        """Connect one more."""
        begun = time.monotonic()  # it is not let go before its time has come by this clock
        sock = socket.create_connection(self._address, timeout=PATIENCE)
        if kind.is_answered and self._tls is not None:
            sock = self._tls.wrap(sock)
        sock.sendall(kind.begins)
        if kind.is_answered and not sock.recv(READ_SIZE):
            raise ProtocolError("the server has not answered")
        sock.setblocking(False)
        slow = Slow(kind, sock, begun + self._timeout)
        self.waiting[sock.fileno()] = slow
        self._poll.register(sock, select.EPOLLIN)
        if kind.dribbles:
            self._dribbling.append(slow)

    def dribble(self) -> None:
        """Have as many bytes sent as are due since the last time, by one client after another."""
        now = time.monotonic()
        self._owed += (now - self._dribbled_at) * len(self._dribbling)
        self._dribbled_at = now
        while self._owed >= 1:
            self._owed -= 1
            slow = self._dribbling[self._next % len(self._dribbling)]
            self._next += 1
            with contextlib.suppress(OSError):  # it is gone
                slow.socket.send(slow.kind.dribbles[slow.sent : slow.sent + 1])
                slow.sent += 1

    def see_gone(self, pause: float) -> None:
        """Wait so long, and take note of those that the server has let go.

        Raises:
            ProtocolError: before their time.
        """
        for descriptor, _ in self._poll.poll(pause):
            slow = self.waiting[descriptor]
            try:
                gone = not slow.socket.recv(READ_SIZE)
            except BlockingIOError:  # a part of a TLS record
                continue
            except OSError:
                gone = True
            if gone:
                lateness = time.monotonic() - slow.due
                if lateness < 0:
                    raise ProtocolError(f"let go too early, {slow.kind.name}: {lateness:.3f} s")
                self.lateness.setdefault(slow.kind.name, []).append(lateness)
                del self.waiting[descriptor]
                slow.socket.close()

    def close(self) -> None:
        """Close what is open."""
        for slow in self.waiting.values():
            slow.socket.close()
        self._poll.close()


class Prober:
    """The client that is not slow."""

    def __init__(self, address: tuple[str, int], tls: Certificate | None = None) -> None:
        self.latencies: dict[str, list[float]] = {}
        self._address = address
        self._tls = tls

    def probe(self, phase: str) -> None:
        """Send a request on a new connection and take the time until all of the answer is there.

        Raises:
            ProtocolError: the answer is not 200.
        """
        begun = time.perf_counter()
        answer = b""
        with socket.create_connection(self._address, timeout=PATIENCE) as plain:
            sock = plain if self._tls is None else self._tls.wrap(plain)
            sock.sendall(LAST_REQUEST)
            while data := sock.recv(READ_SIZE):
                answer += data
        self.latencies.setdefault(phase, []).append(time.perf_counter() - begun)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ProtocolError(f"this was no good answer: {answer!r}")


@dataclasses.dataclass
class Outcome:
    """What was found out; memory in bytes for each connection, times in seconds."""

    anonymous: dict[str, float]
    resident: dict[str, float]
    latencies: dict[str, list[float]]
    lateness: dict[str, list[float]]
    descriptors_left: int


def gather(
    server: Server, crowd: Crowd, prober: Prober, chosen: Sequence[Kind], count: int
) -> tuple[dict[str, float], ...]:
    """Have all connect; return what each costs of anonymous and of resident memory, by kind."""
    anonymous, resident = {}, {}
    for kind in chosen:
        server.cpu_seconds()  # waits until it sleeps
        before = server.anonymous_bytes(), server.resident_bytes()
        for number in range(count):
            crowd.add(kind)
            if number % PROBE_EVERY == 0:
                crowd.dribble()
                prober.probe("coming")
        server.cpu_seconds()
        anonymous[kind.name] = (server.anonymous_bytes() - before[0]) / count
        resident[kind.name] = (server.resident_bytes() - before[1]) / count
        progress(f"{kind.name}: {anonymous[kind.name]:.0f} bytes each")
    return anonymous, resident


def run(options: argparse.Namespace) -> Outcome:
    """Have the slow clients come, wait and go."""
    timeout = str(options.timeout)
    arguments = ("--head-timeout", timeout, "--keep-alive-timeout", timeout)
    with contextlib.ExitStack() as stack:
        tls = stack.enter_context(certificate()) if options.tls else None
        files = () if tls is None else tls.arguments
        server = stack.enter_context(running("serve_http", (*arguments, *files)))
        prober = Prober(server.address, tls)
        for _ in range(PROBES_BEFORE):
            prober.probe("before")
        descriptors = server.descriptors()
        crowd = Crowd(server.address, options.timeout, tls)
        stack.callback(crowd.close)
        chosen = kinds(tls)
        count = max(1, options.connections // len(chosen))
        anonymous, resident = gather(server, crowd, prober, chosen, count)
        everybody = len(crowd.waiting)
        end = time.monotonic() + options.timeout + PATIENCE
        while crowd.waiting and time.monotonic() < end:
            crowd.dribble()
            crowd.see_gone(PAUSE)
            prober.probe("waiting" if len(crowd.waiting) == everybody else "going")
        progress(f"{len(crowd.waiting)} of {everybody} are left")
        if crowd.waiting:
            raise ProtocolError(f"{len(crowd.waiting)} connections were never let go")
        # Those that were answered linger until the server has seen that we are gone, too.
        while server.descriptors() > descriptors and time.monotonic() < end:
            time.sleep(PAUSE)
        left = server.descriptors() - descriptors
        return Outcome(anonymous, resident, prober.latencies, crowd.lateness, left)


def memory_table(outcome: Outcome) -> Table:
    """Return what the connections cost."""
    table = Table("Memory for each connection, bytes", ("client", "anonymous", "resident"))
    for name, value in outcome.anonymous.items():
        table.rows.append((name, f"{value:.0f}", f"{outcome.resident[name]:.0f}"))
    mean = statistics.mean(outcome.anonymous.values()), statistics.mean(outcome.resident.values())
    table.rows.append(("all", f"{mean[0]:.0f}", f"{mean[1]:.0f}"))
    return table


def latency_table(outcome: Outcome) -> Table:
    """Return how long the other client had to wait."""
    columns = ("slow clients", "requests", "median, ms", "p99, ms", "longest, ms", "<= 100 ms")
    table = Table("The next request", columns)
    for phase, latencies in outcome.latencies.items():
        ordered = sorted(latencies)
        figures = (
            ordered[len(ordered) // 2],
            ordered[len(ordered) * 99 // 100],
            ordered[-1],
        )
        table.rows.append(
            (
                phase,
                str(len(ordered)),
                *(f"{value * 1e3:.2f}" for value in figures),
                "yes" if ordered[-1] <= LATENCY_GOAL else "NO",
            )
        )
    return table


def lateness_table(outcome: Outcome) -> Table:
    """Return how long after their deadlines the slow clients were let go."""
    columns = ("client", "gone", "first, s late", "median", "last", "within 1 s")
    table = Table("Gone after their deadlines", columns)
    for name, lateness in outcome.lateness.items():
        table.rows.append(
            (
                name,
                str(len(lateness)),
                f"{min(lateness):.3f}",
                f"{statistics.median(lateness):.3f}",
                f"{max(lateness):.3f}",
                "yes" if max(lateness) <= LATENESS_GOAL else "NO",
            )
        )
    return table


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=whole_number, default=10_000)
    arguments.add_argument("--timeout", type=whole_number, default=20, help="in seconds")
    arguments.add_argument("--tls", action="store_true", help="all of them over TLS")
    options = arguments.parse_args()
    raise_file_limit(options.connections + 100)
    outcome = run(options)
    left = f"Descriptors of the server that are open still: {outcome.descriptors_left}."
    Report(
        "Slow clients over TLS" if options.tls else "Slow clients",
        vars(options),
        tables=[memory_table(outcome), latency_table(outcome), lateness_table(outcome)],
        notes=[NOTE.format(**vars(options)), left],
        data=[dataclasses.asdict(outcome)],
    ).publish(options.report)


if __name__ == "__main__":
    main()
