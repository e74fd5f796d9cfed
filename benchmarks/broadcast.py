"""CPU time of a handy_ws server for each delivery of a compressed broadcast.

1,000 connections; the first of them sends a JSON text of 1 KiB, the server broadcasts it, and when
all 1,000 have it the next one is sent. The server should compress a broadcast once and share the
frame, so that a delivery costs what it costs to send so many bytes. What that is, a second server
without compression tells: its texts are as long as the compressed ones, so that the same number of
bytes goes over the wire. (Its time includes no compression at all; the other's, for each 1,000
deliveries, one message inflated and one deflated.) A third server has agreed on context takeover:
its frames must be shared, too.

The servers run at the same time, and take turns in doing something. The figure is the median of the
rounds' ratios; the goal is at most 1.2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.listeners import Listeners
from benchmarks.common.payloads import json_texts
from benchmarks.common.process import Server, raise_file_limit, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

OFFER = "permessage-deflate"
DIFFERENT_TEXTS = 16
GOAL = 1.2
PLAIN = "no compression, same length"
NOTE = """\
{connections} connections, {rounds} rounds of {broadcasts} broadcasts. "Ratio" is the median of the
rounds' ratios to the first row."""

# What to start, and what the clients offer.
SERVERS: dict[str, tuple[Sequence[str], str]] = {
    PLAIN: ((), ""),
    "no takeover": (("--compress",), OFFER),
    "takeover": (("--compress", "--context-takeover"), OFFER),
}


class Audience:
    """The connections of one server; the first of them is who speaks."""

    def __init__(self, server: Server, clients: Sequence[Client]) -> None:
        self.extensions = clients[0].extensions
        self.wire_sizes: list[int] = []
        self._server = server
        self._clients = clients
        self._frames: list[bytes] = []
        self._listeners = Listeners()

    def rehearse(self, texts: Sequence[bytes]) -> None:
        """Send each text once, and read in full what everybody gets. Then begin to count."""
        for text in texts:
            speech = self._clients[0].text_frame(text)
            self._clients[0].socket.sendall(speech)
            answers = [client.read_message() for client in self._clients]
            for answer in answers:
                if answer.payload != text or answer.compressed != bool(self.extensions):
                    raise ProtocolError(f"something else has come: {answer}")
            self._frames.append(speech)
            self.wire_sizes.append(answers[0].wire_size)
        for client in self._clients:
            self._listeners.add(client)

    def measure(self, broadcasts: int) -> tuple[float, float]:
        """Send that many messages, each after everybody has got the one before.

        Returns:
            Microseconds of CPU time for each delivery, and deliveries a second.
        """
        cpu, start = self._server.cpu_seconds(), time.monotonic()
        for number in range(broadcasts):
            self._clients[0].socket.sendall(self._frames[number % len(self._frames)])
            self._listeners.wait()
        seconds = time.monotonic() - start
        deliveries = broadcasts * len(self._clients)
        spent = self._server.cpu_seconds() - cpu
        return spent / deliveries * 1e6, deliveries / seconds


@dataclasses.dataclass
class Result:
    """What was found out about one of the servers."""

    extensions: str
    wire_bytes: float
    microseconds: list[float] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)


def open_all(stack: contextlib.ExitStack, connections: int) -> dict[str, Audience]:
    """Start the servers, connect to them, and see that they do what they should."""
    texts = json_texts(DIFFERENT_TEXTS, 1024)
    audiences = {}
    for name, (arguments, offer) in SERVERS.items():
        server = stack.enter_context(running("serve_handy_ws", ("--does", "broadcast", *arguments)))
        clients = [stack.enter_context(Client(server.address, offer)) for _ in range(connections)]
        audiences[name] = Audience(server, clients)
        if offer and not clients[0].extensions:
            raise ProtocolError(f"{name}: no compression was agreed on")
    audiences["no takeover"].rehearse(texts)
    audiences["takeover"].rehearse(texts)
    sizes = audiences["no takeover"].wire_sizes
    audiences[PLAIN].rehearse([text[:size] for text, size in zip(texts, sizes, strict=True)])
    return audiences


def run(options: argparse.Namespace) -> dict[str, Result]:
    """Let the servers take turns."""
    with contextlib.ExitStack() as stack:
        audiences = open_all(stack, options.connections)
        results = {
            name: Result(audience.extensions, statistics.mean(audience.wire_sizes))
            for name, audience in audiences.items()
        }
        for audience in audiences.values():
            audience.measure(options.warm_up)
        for number in range(options.rounds):
            # Back and forth, so that nobody always comes after the same one.
            for name in list(audiences)[:: -1 if number % 2 else 1]:
                microseconds, rate = audiences[name].measure(options.broadcasts)
                results[name].microseconds.append(microseconds)
                results[name].rates.append(rate)
                progress(f"round {number + 1}, {name}: {microseconds:.3f} us CPU a delivery")
    return results


def report(options: argparse.Namespace, results: dict[str, Result]) -> Report:
    """Put it all together."""
    table = Table(
        "Broadcasts, one in flight",
        (
            "server",
            "bytes of payload",
            "server CPU, µs/delivery",
            "ratio",
            "least to most",
            "deliveries/s",
            f"ratio <= {GOAL}",
        ),
    )
    plain = results[PLAIN].microseconds
    for name, result in results.items():
        ratios = [one / other for one, other in zip(result.microseconds, plain, strict=True)]
        ratio = statistics.median(ratios)
        table.rows.append(
            (
                f"{name} (`{result.extensions}`)" if result.extensions else name,
                f"{result.wire_bytes:.0f}",
                f"{statistics.median(result.microseconds):.3f}",
                f"{ratio:.3f}",
                f"{min(ratios):.3f} to {max(ratios):.3f}",
                f"{statistics.median(result.rates):.0f}",
                "" if name == PLAIN else "yes" if ratio <= GOAL else "NO",
            )
        )
    return Report(
        "Compressed broadcasts",
        vars(options),
        tables=[table],
        notes=[NOTE.format(**vars(options))],
        data=[{"server": name, **dataclasses.asdict(one)} for name, one in results.items()],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=whole_number, default=1000)
    arguments.add_argument("--rounds", type=whole_number, default=15)
    arguments.add_argument(
        "--broadcasts", type=whole_number, default=120, help="of each server in each round"
    )
    arguments.add_argument("--warm-up", type=whole_number, default=50, help="broadcasts before")
    options = arguments.parse_args()
    raise_file_limit(len(SERVERS) * options.connections + 100)
    report(options, run(options)).publish(options.report)


if __name__ == "__main__":
    main()
