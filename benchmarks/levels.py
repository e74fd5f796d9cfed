"""What each level of compression costs and saves.

A client sends JSON texts as they are, and handy_ws sends them back compressed. The figures are the
mean length of an answer, as a percentage of the text, and the CPU time that an answer takes beyond
that of one which is not compressed. 16 connections have 16 messages in flight each.

With context takeover an answer may refer to those before it, which here are other texts of the same
kind. Levels are zlib's by name; handy_ws has another implementation, whose level 1 is faster than
the original's and makes larger messages.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.load import EchoLoad
from benchmarks.common.payloads import json_texts
from benchmarks.common.process import running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

OFFER = "permessage-deflate"
DIFFERENT_TEXTS = 128
CONNECTIONS = 16
DEPTH = 16


@dataclasses.dataclass
class Setting:
    """How the server compresses texts of one size, and what came out."""

    name: str
    arguments: Sequence[str]
    size: int
    percent: float = 100.0
    microseconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def cost(self) -> float:
        """CPU time for each message."""
        return statistics.median(self.microseconds)


def settings(levels: Sequence[int], sizes: Sequence[int]) -> list[Setting]:
    """Return what is to be compared; for each size, no compression comes first."""
    ways: list[tuple[str, Sequence[str]]] = [("none", ())]
    for level in levels:
        compress = ("--compress", "--level", str(level))
        ways.append((f"level {level}", compress))
        ways.append((f"level {level}, takeover", (*compress, "--context-takeover")))
    return [Setting(name, arguments, size) for size in sizes for name, arguments in ways]


def measure(setting: Setting, messages: int) -> None:
    """Start a server and measure it once."""
    texts = json_texts(DIFFERENT_TEXTS, setting.size)
    with running("serve_handy_ws", setting.arguments) as server:
        clients = [Client(server.address, OFFER) for _ in range(CONNECTIONS)]
        sizes = [check(clients[0], text) for text in texts]
        setting.percent = 100 * statistics.mean(sizes) / setting.size
        frames = [[client.text_frame(text, compress=False) for text in texts] for client in clients]
        load = EchoLoad(clients, frames, DEPTH)
        figures = load.measure(server, messages // 4, messages)
        setting.microseconds.append(figures.microseconds)
        load.finish()
        for client in clients:
            client.close()


def check(client: Client, text: bytes) -> int:
    """Return how long the answer is on the wire."""
    answer = client.echo(client.text_frame(text, compress=False))
    if answer.payload != text:
        raise ProtocolError(f"the server has sent back something else: {answer}")
    return answer.wire_size


def table(measured: Sequence[Setting], sizes: Sequence[int]) -> Table:
    """Return a row for each way to compress."""
    columns = [f"{size} bytes: {what}" for size in sizes for what in ("length", "µs more")]
    result = Table("Length of an answer, and CPU time beyond no compression", ("", *columns))
    for name in dict.fromkeys(setting.name for setting in measured if setting.arguments):
        row = [name]
        for size in sizes:
            none, setting = (
                next(one for one in measured if (one.name, one.size) == (wanted, size))
                for wanted in ("none", name)
            )
            row += [f"{setting.percent:.0f} %", f"{setting.cost - none.cost:.1f}"]
        result.rows.append(row)
    return result


def report(options: argparse.Namespace, measured: Sequence[Setting]) -> Report:
    """Put it all together."""
    return Report(
        "Levels of compression",
        vars(options),
        tables=[table(measured, options.sizes)],
        notes=[f"Medians of {options.rounds} rounds of {options.messages} messages."],
        data=[dataclasses.asdict(setting) for setting in measured],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--levels", nargs="+", type=int, default=[1, 2, 3, 6, 9])
    arguments.add_argument("--sizes", nargs="+", type=whole_number, default=[256, 1024, 16384])
    arguments.add_argument("--rounds", type=whole_number, default=3)
    arguments.add_argument("--messages", type=whole_number, default=5000)
    options = arguments.parse_args()
    measured = settings(options.levels, options.sizes)
    for number in range(options.rounds):
        for setting in measured:
            measure(setting, options.messages)
            progress(
                f"round {number + 1} of {options.rounds}, {setting.size} bytes, {setting.name}: "
                f"{setting.microseconds[-1]:.1f} us, {setting.percent:.0f} %"
            )
    report(options, measured).publish(options.report)


if __name__ == "__main__":
    main()
