"""CPU time of a server for each message over TLS, beside the same without TLS and other servers.

Three kinds of work, all without compression:

  echo, 1       64 clients with a message of 128 bytes in flight each, which is sent back
  echo, 16      the same with 16 messages in flight
  broadcast     one of 1,000 clients sends 128 bytes, which all of them get; then it sends the next

handy_ws has rustls in its core; aiohttp and uvicorn have Python's ssl, which is OpenSSL, on
asyncio's own loop or on uvloop. All speak TLS 1.3 with the cipher that they agree on with a client
of OpenSSL's. The servers run at the same time and take turns, again and again; the figures are
medians of these rounds.

The client is written in Python and may be slower than the server. Then the rate is the client's,
but the CPU time for each message is still the server's.
"""

from __future__ import annotations

import dataclasses
import statistics
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.common.certificates import Certificate, certificate
from benchmarks.common.client import Client
from benchmarks.common.listeners import Listeners
from benchmarks.common.load import EchoLoad
from benchmarks.common.process import Server, cores, raise_file_limit, running
from benchmarks.common.report import (
    Report,
    Table,
    add_loops,
    add_servers,
    parser,
    progress,
    whole_number,
)
from benchmarks.common.turns import median_ratio
from benchmarks.common.wire import TEXT, ProtocolError, frame

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SCHEMES = ("ws", "wss")
PEERS = ("aiohttp", "uvicorn")
PACKAGES = ("handy-ws", *PEERS, "websockets", "uvloop")
DEPTHS = (1, 16)
BROADCAST = "broadcast"
WORKS = (*(f"echo, {depth}" for depth in DEPTHS), BROADCAST)
ARGUMENTS = {
    "handy_ws": ("--ping-interval", "1000000"),  # those who wait for their turn answer no PING
    "aiohttp": (),
    "uvicorn": ("--ws", "websockets-sansio"),
}
NOTE = """\
Microseconds of the server's CPU time: for each message, in a broadcast for each delivery. Medians
of {rounds} rounds of {messages} messages and {broadcasts} broadcasts, of {size} bytes. The ratios
are the medians of the rounds' ratios."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server with its loop, over one scheme."""

    server: str
    loop: str | None
    scheme: str

    @property
    def name(self) -> str:
        """Its row in the tables."""
        return self.server if self.loop is None else f"{self.server} on {self.loop}"

    def arguments(self, does: str, issued: Certificate) -> Sequence[str]:
        """Return how its program is to be called."""
        loop = () if self.loop is None else ("--loop", self.loop)
        tls = issued.arguments if self.scheme == "wss" else ()
        return ("--does", does, *ARGUMENTS[self.server], *loop, *tls)


class Crew:
    """A contender's servers, one for each kind of work, and the clients of each."""

    def __init__(
        self,
        contender: Contender,
        options: argparse.Namespace,
        issued: Certificate,
        stack: ExitStack,
    ) -> None:
        self.costs: dict[str, list[float]] = {work: [] for work in WORKS}
        self._tls = issued if contender.scheme == "wss" else None
        self._speech = frame(TEXT, b"x" * options.size)

        def serve(does: str, clients: int) -> tuple[Server, list[Client]]:
            module, arguments = f"serve_{contender.server}", contender.arguments(does, issued)
            server = stack.enter_context(running(module, arguments))
            return server, [stack.enter_context(self._connect(server)) for _ in range(clients)]

        self._echo_server, self._echo_clients = serve("echo", options.connections)
        self._server, self._audience = serve(BROADCAST, options.audience)
        self._listeners = Listeners()
        for client in self._audience:
            self._listeners.add(client)
        stack.callback(self._listeners.close)

    def _connect(self, server: Server) -> Client:
        client = Client(server.address, tls=self._tls)
        if client.extensions:
            raise ProtocolError("compression was agreed on, which was not offered")
        return client

    def work(self, what: str, options: argparse.Namespace) -> float:
        """Do one kind of work; return and keep the microseconds for each message or delivery."""
        if what == BROADCAST:
            self._broadcast(options.warm_up_broadcasts)
            cost = self._broadcast(options.broadcasts)
        else:
            frames = [[self._speech]] * len(self._echo_clients)
            load = EchoLoad(self._echo_clients, frames, int(what.rpartition(" ")[2]))
            figures = load.measure(self._echo_server, options.warm_up, options.messages)
            load.finish()
            cost = figures.microseconds
        self.costs[what].append(cost)
        return cost

    def _broadcast(self, count: int) -> float:
        cpu = self._server.cpu_seconds()
        for _ in range(count):
            self._audience[0].socket.sendall(self._speech)
            self._listeners.wait()
        spent = self._server.cpu_seconds() - cpu
        return spent / (count * len(self._audience)) * 1e6


def contenders(peers: Sequence[str], loops: Sequence[str]) -> list[Contender]:
    """Return all that shall be measured, handy_ws first."""
    servers: list[tuple[str, str | None]] = [("handy_ws", None)]
    servers += [(peer, loop) for peer in peers for loop in loops]
    return [Contender(*server, scheme) for server in servers for scheme in SCHEMES]


def run(options: argparse.Namespace) -> dict[Contender, Crew]:
    """Measure all of them in turn, as often as asked."""
    with certificate() as issued, ExitStack() as stack:
        crews = {}
        for contender in contenders(options.servers, options.loops):
            progress(f"{contender.name}, {contender.scheme}: connecting")
            crews[contender] = Crew(contender, options, issued, stack)
        for number in range(options.rounds):
            for work in options.works:
                # Back and forth, so that nobody always comes after the same one.
                for contender in list(crews)[:: -1 if number % 2 else 1]:
                    cost = crews[contender].work(work, options)
                    progress(
                        f"round {number + 1} of {options.rounds}, {work}, {contender.name}, "
                        f"{contender.scheme}: {cost:.2f} us"
                    )
        return crews


def cost_table(crews: dict[Contender, Crew], work: str) -> Table:
    """Return the figures of one kind of work."""
    table = Table(
        work,
        ("server", "ws, us", "wss, us", "least to most", "wss to ws", "wss to handy_ws"),
    )
    costs = {
        (contender.name, contender.scheme): crew.costs[work] for contender, crew in crews.items()
    }
    for name in dict.fromkeys(contender.name for contender in crews):
        plain, tls = costs[name, "ws"], costs[name, "wss"]
        table.rows.append(
            (
                name,
                f"{statistics.median(plain):.2f}",
                f"{statistics.median(tls):.2f}",
                f"{min(tls):.2f} to {max(tls):.2f}",
                f"{median_ratio(tls, plain):.2f}",
                f"{median_ratio(tls, costs['handy_ws', 'wss']):.2f}",
            )
        )
    return table


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    add_servers(arguments, PEERS)
    add_loops(arguments)
    arguments.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    arguments.add_argument("--connections", type=whole_number, default=64, help="that echo")
    arguments.add_argument("--audience", type=whole_number, default=1000, help="of the broadcasts")
    arguments.add_argument("--size", type=whole_number, default=128, help="bytes of a message")
    arguments.add_argument("--rounds", type=whole_number, default=7)
    arguments.add_argument("--messages", type=whole_number, default=20_000)
    arguments.add_argument("--warm-up", type=whole_number, default=2000, help="messages before")
    arguments.add_argument("--broadcasts", type=whole_number, default=40)
    arguments.add_argument("--warm-up-broadcasts", type=whole_number, default=5)
    options = arguments.parse_args()
    count = len(contenders(options.servers, options.loops))
    raise_file_limit(count * (options.connections + options.audience) + 100)
    crews = run(options)
    server_core, client_core = cores()
    Report(
        "Messages over TLS",
        {**vars(options), "server core": server_core, "client core": client_core},
        PACKAGES,
        [cost_table(crews, work) for work in options.works],
        [NOTE.format(**vars(options))],
        [
            {**dataclasses.asdict(contender), "costs": crew.costs}
            for contender, crew in crews.items()
        ],
    ).publish(options.report)


if __name__ == "__main__":
    main()
