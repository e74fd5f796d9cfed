"""Memory of a handy_ws server for each connection, with compression and without.

A server in a process of its own has 200 connections that have already done everything below. Then
2,000 more are opened, and the growth of its anonymous memory (heap and stacks; the kernel's socket
buffers are not in it) is divided by their number, after each of these steps:

  open          the handshakes are done
  uncompressed  each has sent two short texts as they are, and got them back so
  received      each has sent two short texts compressed; they came back uncompressed, because
                they are shorter than the server's threshold
  exchanged     each has sent two texts of 1 KiB and got them back, compressed both ways
  full          each has done the same with a text of 64 KiB: even the largest window is full

All clients offer compression, so that all have sent as many bytes. Without context takeover a
connection remembers nothing between two messages, so there should be no difference to a server
without compression. With takeover it keeps a window and the compressor's tables, but should have
none before it needs them: compare the columns "uncompressed" (agreed on, but not used), "received"
(one direction) and "exchanged" (both).
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.payloads import json_texts
from benchmarks.common.process import raise_file_limit, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WINDOWS = range(9, 16)
OFFER = "permessage-deflate; client_max_window_bits"
SHORT = b'{"type":"ping","sequence":1234567,"comment":"far below the threshold"}'
KIB_1 = json_texts(2, 1024)
KIB_64 = json_texts(1, 65536)

Step = tuple[str, "Callable[[Client], None]"]


@dataclasses.dataclass
class Setting:
    """How the server compresses, and what came out."""

    name: str
    arguments: Sequence[str]
    extensions: str = ""
    bytes_per_connection: dict[str, float] = dataclasses.field(default_factory=dict)


def exchange(texts: Sequence[bytes], *, sent: bool, answered: bool) -> Callable[[Client], None]:
    """Return a step: send texts and get them back, compressed or not in each direction."""

    def step(client: Client) -> None:
        for text in texts:
            answer = client.echo(client.text_frame(text, compress=sent))
            if answer.payload != text:
                raise ProtocolError(f"the server has sent back something else: {answer}")
            if answer.compressed != (answered and bool(client.extensions)):
                raise ProtocolError(f"compressed is {answer.compressed} for {len(text)} bytes")

    return step


STEPS: Sequence[Step] = (
    ("open", lambda _: None),
    ("uncompressed", exchange([SHORT, SHORT], sent=False, answered=False)),
    ("received", exchange([SHORT, SHORT], sent=True, answered=False)),
    ("exchanged", exchange(KIB_1, sent=True, answered=True)),
    ("full", exchange(KIB_64, sent=True, answered=True)),
)


def settings(windows: Sequence[int]) -> list[Setting]:
    """Return what is to be compared."""
    takeover = ("--compress", "--context-takeover", "--window-bits")
    return [
        Setting("no compression", ()),
        Setting("no takeover", ("--compress",)),
        *(Setting(f"takeover, {bits} bits", (*takeover, str(bits))) for bits in windows),
    ]


def measure(setting: Setting, connections: int, earlier: int) -> None:
    """Start a server, and take its memory after each step."""
    with running("serve_handy_ws", setting.arguments) as server, contextlib.ExitStack() as stack:

        def connect(count: int) -> list[Client]:
            return [stack.enter_context(Client(server.address, OFFER)) for _ in range(count)]

        perform(connect(earlier), STEPS)
        before = server.anonymous_bytes()
        clients = connect(connections)
        setting.extensions = clients[0].extensions
        for name, step in STEPS:
            perform(clients, [(name, step)])
            growth = server.anonymous_bytes() - before
            setting.bytes_per_connection[name] = growth / connections


def perform(clients: Sequence[Client], steps: Sequence[Step]) -> None:
    """Do the steps on each connection."""
    for _, step in steps:
        for client in clients:
            step(client)


def report(measured: Sequence[Setting], connections: int, earlier: int) -> Report:
    """Put it all together."""
    names = [name for name, _ in STEPS]
    table = Table("KiB of anonymous memory for each connection", ("setting", *names))
    agreed = Table("What was agreed on", ("setting", "Sec-WebSocket-Extensions"))
    for setting in measured:
        sizes = [f"{setting.bytes_per_connection[name] / 1024:.2f}" for name in names]
        table.rows.append((setting.name, *sizes))
        agreed.rows.append((setting.name, f"`{setting.extensions}`" if setting.extensions else ""))
    return Report(
        "Memory of connections",
        {"connections": connections, "earlier": earlier},
        tables=[table, agreed],
        notes=[f"Growth of the server by {connections} connections after {earlier} others."],
        data=[dataclasses.asdict(setting) for setting in measured],
    )


def main() -> None:
    """Read the command line, measure, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=whole_number, default=2000)
    arguments.add_argument("--earlier", type=whole_number, default=200)
    arguments.add_argument(
        "--windows", nargs="*", type=int, choices=WINDOWS, default=list(WINDOWS), metavar="BITS"
    )
    options = arguments.parse_args()
    raise_file_limit(options.connections + options.earlier + 100)
    measured = settings(options.windows)
    for setting in measured:
        measure(setting, options.connections, options.earlier)
        progress(f"{setting.name}: {setting.bytes_per_connection}")
    report(measured, options.connections, options.earlier).publish(options.report)


if __name__ == "__main__":
    main()
