"""What deflate bombs do to a handy_ws server: its memory, and how long others wait meanwhile.

A small message may inflate to a thousand times its size. One client, or 50, send such messages in
one go while another one sends a small text, takes the answer, sends the next, and so on. The limit
of a message is the default, 1 MiB. The attacks:

  none           nobody attacks, for comparison
  whole          one message that would inflate to 960 MiB, in one frame
  fragments      the same one in frames of 1,000 bytes
  small          one message that would inflate to 16 MiB, in one frame
  legal          1,000 messages of exactly 1 MiB, which is allowed, in frames of about 1 KiB
  legal, 50      the same number, 20 from each of 50 clients

Goals: what would inflate to more than the limit is closed with 1009 (if not, this program fails);
memory then grows by at most the limit and 1 MiB; and the other client's message that is sent right
after the attack is answered within 5 ms (in the median: on a busy machine some take longer for
reasons of their own, as "none" shows). For legal messages there are figures, but no goals: a
program that is given 1 MiB has that in its memory, too.

Each attack is repeated on one server; memory is always compared with what it was before the first.
It is the peak of resident memory (VmHWM, which is reset before), to about 0.3 MiB, since the kernel
counts pages for each core. The program that takes the latencies also sends the attacks: some of its
own work is in them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.common.client import Client
from benchmarks.common.payloads import deflate, json_texts, repeated
from benchmarks.common.process import Server, running
from benchmarks.common.report import Report, Table, parser, progress, whole_number
from benchmarks.common.wire import (
    CLOSE,
    CONTINUATION,
    TEXT,
    ProtocolError,
    close_code,
    frame,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

OFFER = "permessage-deflate"
MIB = 1 << 20
LIMIT = MIB  # WebSocketConfig.max_message_size
MEMORY_GOAL = LIMIT + MIB
LATENCY_GOAL = 0.005
TOO_LARGE = 1009
LEAST_PROBES = 20
FRAGMENT = 1000
READ_SIZE = 1 << 16
STALLED = 30.0
PROBE = json_texts(1, 1024)[0]
NOTE = """\
Memory is the growth of the peak since before the first attack. "Next message" is the one that the
other client sends right after the attack has begun, "any message" are all until it is over."""
DONE = b"this is the last message, and it is answered"


@dataclasses.dataclass(frozen=True)
class Attack:
    """What attackers send, each on a connection of its own.

    Attributes:
        allowed: whether the server should take it. Otherwise it should close with 1009.
    """

    name: str
    clients: int
    data: bytes
    allowed: bool


def attacks() -> list[Attack]:
    """Return them in the order of the table."""
    block = deflate(b" " * MIB, level=9)
    large, small = repeated(block, 960), repeated(block, 16)
    pieces = [large[i : i + FRAGMENT] for i in range(0, len(large), FRAGMENT)]
    fragments = [
        frame(CONTINUATION if i else TEXT, piece, compressed=i == 0, fin=i == len(pieces) - 1)
        for i, piece in enumerate(pieces)
    ]
    legal = frame(TEXT, block, compressed=True)
    end = frame(TEXT, deflate(DONE), compressed=True)
    return [
        Attack("none", 0, b"", allowed=True),
        Attack("whole", 1, frame(TEXT, large, compressed=True), allowed=False),
        Attack("fragments", 1, b"".join(fragments), allowed=False),
        Attack("small", 1, frame(TEXT, small, compressed=True), allowed=False),
        Attack("legal", 1, legal * 1000 + end, allowed=True),
        Attack("legal, 50", 50, legal * 20 + end, allowed=True),
    ]


@dataclasses.dataclass
class Outcome:
    """What happened during one attack; times in seconds."""

    memory_growth: int
    codes: list[int | None]  # None: the attackers' last message was answered
    latencies: list[float]  # of the other client, from the message right after the attack on
    seconds: float = 0.0


class Attacker:
    """Sends as fast as the server takes it, and reads until the answer or the CLOSE."""

    def __init__(self, client: Client, data: bytes) -> None:
        self.socket = client.socket
        self.socket.setblocking(False)
        self.is_done = False
        self.code: int | None = None
        self._unsent = memoryview(data)
        self._received = b""

    def send(self) -> None:
        """Send what the system takes at once."""
        # The server may have closed the connection: what it said before is read all the same.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]

    @property
    def wants(self) -> int:
        """The events to wait for."""
        return select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)

    def read(self) -> None:
        """Read, and see whether it is over."""
        self._received += self.socket.recv(READ_SIZE)
        header = parse_header(self._received)
        if header is None or len(self._received) < header[1] + header[2]:
            return
        first, start, length = header
        if first & 0x0F == CLOSE:
            self.code = close_code(self._received[start : start + length])
        self.is_done = True


class Probe:
    """The other client: sends a text, takes the answer, and so on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.latencies: list[float] = []
        self._frame = client.text_frame(PROBE)
        self._sent_at = 0.0

    def send(self) -> None:
        """Send the text."""
        self._sent_at = time.perf_counter()
        self.client.socket.sendall(self._frame)

    def read(self) -> None:
        """Take the answer."""
        answer = self.client.read_message()
        self.latencies.append(time.perf_counter() - self._sent_at)
        if answer.payload != PROBE:
            raise ProtocolError(f"the other client has got something else: {answer}")


def fight(probe: Probe, attackers: Sequence[Attacker]) -> list[float]:
    """Attack, and return the other client's latencies until all is over."""
    probe.latencies = []
    with select.epoll() as poll:
        for attacker in attackers:
            attacker.send()
        probe.send()
        waiting = {attacker.socket.fileno(): attacker for attacker in attackers}
        for descriptor, attacker in waiting.items():
            poll.register(descriptor, attacker.wants)
        poll.register(probe.client.socket, select.EPOLLIN)
        while waiting or len(probe.latencies) < LEAST_PROBES:
            events = dict(poll.poll(STALLED))
            if not events:
                raise ProtocolError(f"nothing has come for {STALLED:g} s")
            if events.pop(probe.client.socket.fileno(), 0):
                probe.read()
                probe.send()
            for descriptor, event in events.items():
                attacker = waiting[descriptor]
                if event & ~select.EPOLLOUT:
                    attacker.read()
                if attacker.is_done:
                    poll.unregister(descriptor)
                    del waiting[descriptor]
                elif event & select.EPOLLOUT:
                    attacker.send()
                    poll.modify(descriptor, attacker.wants)
        probe.read()
    return list(probe.latencies)


def attack_once(server: Server, attack: Attack, probe: Probe, before: int) -> Outcome:
    """Attack from new connections, and look at the server."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(server.address, OFFER)) for _ in range(attack.clients)
        ]
        server.reset_peak()
        start = time.perf_counter()
        attackers = [Attacker(client, attack.data) for client in clients]
        latencies = fight(probe, attackers)
        seconds = time.perf_counter() - start
        codes = [attacker.code for attacker in attackers]
    probe.send()  # when this is answered, the server has let the attackers go
    probe.read()
    return Outcome(server.peak_bytes() - before, codes, latencies, seconds)


def run(attack: Attack, rounds: int, *, context_takeover: bool) -> list[Outcome]:
    """Attack a new server, again and again.

    Raises:
        ProtocolError: an attack has ended in another way than it should.
    """
    takeover = ("--context-takeover",) if context_takeover else ()
    with (
        running("serve_handy_ws", ("--does", "sink", "--compress", *takeover)) as server,
        Client(server.address, OFFER) as client,
    ):
        probe = Probe(client)
        for _ in range(100):  # so that what is made once is there
            probe.send()
            probe.read()
        before = server.resident_bytes()
        outcomes = [attack_once(server, attack, probe, before) for _ in range(rounds)]
    for outcome in outcomes:
        if set(outcome.codes) - {None if attack.allowed else TOO_LARGE}:
            raise ProtocolError(f"{attack.name}: closed with {outcome.codes}")
    return outcomes


def milliseconds(latency: float) -> str:
    """Return it as text."""
    return f"{latency * 1e3:.2f}"


def row(attack: Attack, outcomes: Sequence[Outcome]) -> Sequence[str]:
    """Return the attack's line in the table."""
    growth = [outcome.memory_growth / MIB for outcome in outcomes]
    following = [outcome.latencies[0] for outcome in outcomes]
    everything = [latency for outcome in outcomes for latency in outcome.latencies]
    memory_met = max(outcome.memory_growth for outcome in outcomes) <= MEMORY_GOAL
    latency_met = statistics.median(following) <= LATENCY_GOAL
    return (
        attack.name,
        "all answered" if attack.allowed else str(TOO_LARGE),
        f"{growth[0]:.2f}",
        f"{max(growth):.2f}",
        milliseconds(statistics.median(following)),
        milliseconds(max(following)),
        milliseconds(statistics.median(everything)),
        milliseconds(max(everything)),
        f"{statistics.median(outcome.seconds for outcome in outcomes):.2f}",
        "" if attack.allowed else "yes" if memory_met else "NO",
        "" if attack.allowed else "yes" if latency_met else "NO",
    )


def main() -> None:
    """Read the command line, attack, and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=whole_number, default=7, help="for each attack")
    arguments.add_argument(
        "--context-takeover", action="store_true", help="agree on it; the default is without"
    )
    options = arguments.parse_args()
    table = Table(
        "Attacks: peak of memory in MiB, latencies of another client in ms",
        (
            "attack",
            "outcome",
            "memory, first time",
            "memory, at most",
            "next message, median",
            "next message, at most",
            "any message, median",
            "any message, at most",
            "seconds",
            f"memory <= {MEMORY_GOAL / MIB:g} MiB",
            f"median <= {LATENCY_GOAL * 1e3:g} ms",
        ),
    )
    report = Report("Deflate bombs", vars(options), tables=[table])
    for attack in attacks():
        outcomes = run(attack, options.rounds, context_takeover=options.context_takeover)
        table.rows.append(row(attack, outcomes))
        progress(f"{attack.name}: {outcomes[0].memory_growth / MIB:.2f} MiB")
        report.data += [
            {"attack": attack.name, "round": number, **dataclasses.asdict(outcome)}
            for number, outcome in enumerate(outcomes)
        ]
    report.notes.append(NOTE)
    report.publish(options.report)


if __name__ == "__main__":
    main()
