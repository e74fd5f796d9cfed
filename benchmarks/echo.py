"""CPU time of a server for each compressed message that it sends back, beside other servers.

A client keeps 1 or 16 JSON messages of 1 KiB in flight on each of 64 connections; the server
inflates each, hands it to the program, and sends it back deflated. The servers, small programs in
benchmarks/servers, have no keepalive and no access log. They are started one after another, again
and again; the figures are medians of these rounds.

Every server agrees on permessage-deflate, in one or more of these settings:

  default      what you get without asking for anything (the offer is what Chrome sends)
  takeover     level 1, a window of 15 bits, and the window is kept from message to message
  no-takeover  level 1, a window of 15 bits, and each message is compressed on its own

handy_ws's default is "no-takeover" and aiohttp's is "takeover"; neither is measured twice. Where a
server cannot be set so, the table says what it does instead. The asyncio servers are measured on
asyncio's own loop and on uvloop.

Levels have the same names everywhere but not the same meaning: handy_ws has another implementation
of zlib, whose level 1 is faster and makes larger messages than the original's, and whose level 2
makes about the same size as the original's level 1. So it is measured with both; see the column
"bytes of an answer".

The client sends frames that were compressed beforehand, without history, which is right under any
agreement. It checks the first messages of each connection in full, and that as many come back as
were sent. It is written in Python and may be slower than the server. Then the rate is the client's,
but the CPU time for each message is still the server's.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.common.client import Client
from benchmarks.common.load import EchoLoad, Figures
from benchmarks.common.payloads import json_texts
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
from benchmarks.common.wire import ProtocolError
from benchmarks.servers.contenders import PACKAGES, PEERS, Contender, contenders

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DIFFERENT_TEXTS = 64
CHECKED_TEXTS = 4  # on each connection

NOTE = f"""\
Texts of {{size}} bytes on {{connections}} connections; medians of {{rounds}} rounds of {{messages}}
messages. "To handy_ws" is the median of the rounds' ratios to handy_ws's default, the first row.
"Busy" is the part of the time for which a process was running: where the client's is near 100 %, it
bounds the messages/s; where both are low, other programs had the cores meanwhile. "Bytes of an
answer" is the mean of the first {CHECKED_TEXTS} on each connection."""


@dataclasses.dataclass
class Result:
    """What was found out about one of them."""

    extensions: str = ""
    answer_sizes: list[int] = dataclasses.field(default_factory=list)
    compressed: set[bool] = dataclasses.field(default_factory=set)
    figures: dict[int, list[Figures]] = dataclasses.field(default_factory=dict)  # by depth


def connect(server: Server, contender: Contender, texts: Sequence[bytes], result: Result) -> Client:
    """Open a connection, and look at the first messages that come back."""
    client = Client(server.address, contender.offer)
    result.extensions = client.extensions
    if not client.extensions:
        raise ProtocolError(f"{contender.name} does not compress")
    for text in texts:
        answer = client.echo(client.text_frame(text))
        if answer.payload != text:
            raise ProtocolError(f"{contender.name} has sent back something else: {answer}")
        result.answer_sizes.append(answer.wire_size)
        result.compressed.add(answer.compressed)
    return client


def measure(
    server: Server, contender: Contender, depth: int, options: argparse.Namespace, result: Result
) -> Figures:
    """Measure a running server with so many messages in flight on each connection."""
    texts = json_texts(DIFFERENT_TEXTS, options.size)
    # Each begins somewhere else, so that a turn of the server does not see one text again and again
    order = [texts[i % len(texts) :] + texts[: i % len(texts)] for i in range(options.connections)]
    clients = [connect(server, contender, own[:CHECKED_TEXTS], result) for own in order]
    frames = [
        [client.text_frame(text) for text in own]
        for client, own in zip(clients, order, strict=True)
    ]
    load = EchoLoad(clients, frames, depth)
    figures = load.measure(server, options.warm_up, options.messages)
    load.finish()
    for client in clients:
        client.close()
    return figures


def run(options: argparse.Namespace) -> dict[Contender, Result]:
    """Measure all of them in turn, as often as asked."""
    results = {one: Result() for one in contenders(options.servers, options.loops)}
    for number in range(options.rounds):
        # Back and forth, so that nobody always comes after the same one.
        for contender in list(results)[:: -1 if number % 2 else 1]:
            result = results[contender]
            with running(contender.module, contender.arguments) as server:
                for depth in options.depths:
                    figures = measure(server, contender, depth, options, result)
                    result.figures.setdefault(depth, []).append(figures)
                    progress(
                        f"round {number + 1} of {options.rounds}, {contender.name}, {depth} in "
                        f"flight: {figures.microseconds:.1f} us CPU a message, "
                        f"{figures.rate:.0f} messages/s"
                    )
    return results


def median(figures: Sequence[Figures], value: str) -> float:
    """Return the median over the rounds."""
    return float(statistics.median(getattr(one, value) for one in figures))


def cost_table(results: dict[Contender, Result], depth: int) -> Table:
    """Return the figures with so many messages in flight."""
    table = Table(
        f"{depth} in flight on each connection",
        (
            "server",
            "server CPU, µs/message",
            "least to most",
            "to handy_ws",
            "messages/s",
            "server busy",
            "client busy",
        ),
    )
    first = next(iter(results.values())).figures[depth]
    for contender, result in results.items():
        figures = result.figures[depth]
        costs = [one.microseconds for one in figures]
        ratios = [
            one.microseconds / ours.microseconds for one, ours in zip(figures, first, strict=True)
        ]
        table.rows.append(
            (
                contender.name,
                f"{statistics.median(costs):.1f}",
                f"{min(costs):.1f} to {max(costs):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{median(figures, 'rate'):.0f}",
                f"{median(figures, 'server_busy'):.0%}",
                f"{median(figures, 'client_busy'):.0%}",
            )
        )
    return table


def agreement_table(results: dict[Contender, Result]) -> Table:
    """Return what each server has agreed on, and how large its answers are."""
    table = Table(
        "What was agreed on",
        ("server", "Sec-WebSocket-Extensions", "level, window", "bytes of an answer"),
    )
    for contender, result in results.items():
        sizes = f"{statistics.mean(result.answer_sizes):.0f}"
        if result.compressed != {True}:
            sizes += ", not all of them compressed"
        table.rows.append((contender.name, f"`{result.extensions}`", contender.level, sizes))
    return table


def measurements(contender: Contender, result: Result) -> dict[str, Any]:
    """Return what a program may want to know about a server."""
    data = dataclasses.asdict(contender) | dataclasses.asdict(result)
    data["answer_sizes"] = statistics.mean(result.answer_sizes)
    data["compressed"] = result.compressed == {True}
    return data


def report(options: argparse.Namespace, results: dict[Contender, Result]) -> Report:
    """Put it all together."""
    server_core, client_core = cores()
    return Report(
        "Echo of compressed messages",
        {**vars(options), "server core": server_core, "client core": client_core},
        PACKAGES,
        [*(cost_table(results, depth) for depth in options.depths), agreement_table(results)],
        [NOTE.format(**vars(options))],
        [measurements(contender, result) for contender, result in results.items()],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    names = [name for name, *_ in PEERS]
    add_servers(arguments, names)
    add_loops(arguments)
    arguments.add_argument(
        "--depths",
        nargs="+",
        type=whole_number,
        default=[1, 16],
        metavar="N",
        help="messages in flight on each connection; default 1 16",
    )
    arguments.add_argument("--connections", type=whole_number, default=64)
    arguments.add_argument(
        "--size", type=whole_number, default=1024, help="bytes of a message, uncompressed"
    )
    arguments.add_argument("--rounds", type=whole_number, default=5)
    arguments.add_argument(
        "--messages", type=whole_number, default=20_000, help="that count, each time"
    )
    arguments.add_argument(
        "--warm-up", type=whole_number, default=4_000, help="messages before those"
    )
    options = arguments.parse_args()
    raise_file_limit(options.connections + 100)
    report(options, run(options)).publish(options.report)


if __name__ == "__main__":
    main()
