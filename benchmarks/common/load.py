"""Load: connections that keep a number of messages in flight, on one thread with epoll.

The load is a closed loop: a message is sent when an answer has come, so a slow server gets fewer
messages, and CPU time for each message stays comparable. In Python such a client is slower than a
compiled one. So it is reported how busy both were: if the client was all the time, the rate is the
client's and not the server's, and if neither was, other programs had their cores; the server's CPU
time for each message holds either way.
"""

from __future__ import annotations

import dataclasses
import select
import time
from typing import TYPE_CHECKING

from benchmarks.common.wire import FrameCounter, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.common.client import Client
    from benchmarks.common.process import Server

__all__ = ["EchoLoad", "Figures"]

_READ_SIZE = 1 << 18
_STALLED = 10.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured while the load was running."""

    messages: int
    seconds: float
    server_cpu: float
    client_cpu: float

    @property
    def microseconds(self) -> float:
        """CPU time of the server for each message."""
        return self.server_cpu / self.messages * 1e6

    @property
    def server_busy(self) -> float:
        """The part of the time for which the server was running."""
        return self.server_cpu / self.seconds

    @property
    def client_busy(self) -> float:
        """The part of the time for which the client was running."""
        return self.client_cpu / self.seconds

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


class _Pump:
    """One connection: sends the next of its frames for every message that has come."""

    __slots__ = ("_counter", "_frames", "_poll", "_sent", "_socket", "_unsent", "in_flight")

    def __init__(self, client: Client, frames: Sequence[bytes], poll: select.epoll) -> None:
        self._socket = client.socket
        self._socket.setblocking(False)
        self._frames = frames
        self._sent = 0
        self.in_flight = 0
        self._counter = FrameCounter()
        self._unsent = b""
        self._poll = poll
        poll.register(self._socket, select.EPOLLIN)

    def send(self, count: int) -> None:
        """Send that many more frames."""
        chosen = [self._frames[(self._sent + i) % len(self._frames)] for i in range(count)]
        self._sent += count
        self.in_flight += count
        self._write(self._unsent + b"".join(chosen))

    def handle(self, events: int) -> int:
        """Do what the socket is ready for; return how many messages have come.

        Raises:
            ProtocolError: there are more of them than were asked for, or the server has gone.
        """
        messages = 0
        if events & select.EPOLLOUT:
            self._write(self._unsent)
        if events & ~select.EPOLLOUT:
            try:
                data = self._socket.recv(_READ_SIZE)
            except BlockingIOError:  # a part of a TLS record
                return 0
            if not data:
                raise ProtocolError("the server has closed a connection")
            messages = self._counter.feed(data)
            self.in_flight -= messages
            if self.in_flight < 0 or not (self.in_flight or self._counter.is_between_frames):
                raise ProtocolError("the server has sent more than was asked for")
        return messages

    def release(self) -> None:
        """Make the socket an ordinary one again."""
        self._poll.unregister(self._socket)
        self._socket.settimeout(_STALLED)

    def _write(self, data: bytes) -> None:
        had_to_wait = bool(self._unsent)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        has_to_wait = bool(self._unsent)
        if has_to_wait != had_to_wait:
            waits_for = select.EPOLLIN | (select.EPOLLOUT if has_to_wait else 0)
            self._poll.modify(self._socket, waits_for)


class EchoLoad:
    """Every connection has `depth` messages in flight, which the server sends back.

    Args:
        clients: connections with nothing in flight. From now on they are used by nothing else.
        frames: the messages for each, which are sent one after another, again and again.
        depth: how many are in flight.
    """

    def __init__(
        self, clients: Sequence[Client], frames: Sequence[Sequence[bytes]], depth: int
    ) -> None:
        if not all(client.is_between_messages for client in clients):
            raise ProtocolError("the server has sent more than was asked for")
        self._poll = select.epoll()
        self._pumps = {
            client.socket.fileno(): _Pump(client, own, self._poll)
            for client, own in zip(clients, frames, strict=True)
        }
        self._depth = depth

    def run(self, least: int) -> int:
        """Keep going until that many messages or some more have come, and nothing is in flight.

        Returns:
            How many messages have come, which is how many were sent.
        """
        messages = 0
        for pump in self._pumps.values():
            pump.send(self._depth)
        in_flight = self._depth * len(self._pumps)
        while in_flight:
            for pump, event in self._ready():
                answers = pump.handle(event)
                messages += answers
                in_flight -= answers
                if answers and messages < least:
                    pump.send(answers)
                    in_flight += answers
        return messages

    def measure(self, server: Server, warm_up: int, messages: int) -> Figures:
        """Run for the messages of the warm-up, and then for those that count."""
        self.run(warm_up)
        cpu, client_cpu, start = server.cpu_seconds(), time.process_time(), time.monotonic()
        counted = self.run(messages)
        seconds, client_cpu = time.monotonic() - start, time.process_time() - client_cpu
        return Figures(counted, seconds, server.cpu_seconds() - cpu, client_cpu)

    def finish(self) -> None:
        """Make the connections ordinary ones again."""
        for pump in self._pumps.values():
            pump.release()
        self._poll.close()

    def _ready(self) -> list[tuple[_Pump, int]]:
        events = self._poll.poll(_STALLED)
        if not events:
            raise ProtocolError(f"the server has sent nothing for {_STALLED:g} s")
        return [(self._pumps[descriptor], event) for descriptor, event in events]
