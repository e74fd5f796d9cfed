"""Load from a compiled client, `benchmarks/native`'s `load`: it says in its source what it does.

As with the load in Python it is a closed loop, where a message is sent when another one has come,
unless it is to keep a pace.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING, Self

from benchmarks.common import load
from benchmarks.common.native import native
from benchmarks.common.process import Server
from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    from benchmarks.common.works import Work

__all__ = ["Figures", "NativeLoad"]

_STOP_TIMEOUT = 10.0
#: The part of the measured time that finding out how many messages it takes may take itself.
_PROBING = 0.2


@dataclasses.dataclass(frozen=True)
class Figures(load.Figures):
    """What was measured while the load was running; times are in seconds.

    Attributes:
        p50: how long half of the messages took at most until they were back; 0 if nobody knows.
        p99: the same for 99 %.
        p999: the same for 99.9 %.
        late_p99: how late the client was to send 99 % of the messages at most, at a fixed rate.
        late_p999: the same for 99.9 %.
    """

    p50: float
    p99: float
    p999: float
    late_p99: float
    late_p999: float


class NativeLoad:
    """The client, with all its connections open. It runs on this process's core.

    Raises:
        ProtocolError: the server does not do what it should.
    """

    def __init__(self, server: Server, work: Work) -> None:
        host, port = server.address
        command = [native("load"), f"{host}:{port}", *work.arguments]
        self._server = server
        self._in_flight = work.in_flight
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._client = Server(self._process.pid, port)
        self._expect_line()

    def keep(self, count: int) -> Figures:
        """Keep messages in flight until that many have come."""
        return self._do(f"keep {count}")

    def pace(self, count: int, rate: float) -> Figures:
        """Send that many messages at that rate, in messages a second, whatever comes back.

        Times count from when a message was to be sent, and those of a broadcast are everybody's.
        """
        return self._do(f"pace {count} {rate}")

    def measure(self, seconds: float) -> Figures:
        """Warm up, and then measure for about that long."""
        return self.keep(self.count_for(seconds))

    def count_for(self, seconds: float) -> int:
        """Warm up, and return how many messages take about that long."""
        count = 4 * self._in_flight
        while (figures := self.keep(count)).seconds < seconds * _PROBING:
            count *= 2
        return max(count, round(figures.rate * seconds))

    def _do(self, command: str) -> Figures:
        cpu, client_cpu = self._server.cpu_seconds(), self._client.cpu_seconds()
        print(command, file=self._process.stdin, flush=True)
        found = json.loads(self._expect_line())
        server_cpu = self._server.cpu_seconds() - cpu
        client_cpu = self._client.cpu_seconds() - client_cpu
        return Figures(server_cpu=server_cpu, client_cpu=client_cpu, **found)

    def _expect_line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ProtocolError(f"the client has ended with status {self._process.wait()}")
        return line

    def close(self) -> None:
        """Close the connections."""
        # Whoever has ended reads no input.
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=_STOP_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
