"""Load for HTTP servers: wrk, a client in C that keeps a request in flight on each connection.

It is Debian's package `wrk`; `make bench-http` installs it. It runs on the client's core, where
whoever starts it has to be: see `process.running`.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.common.process import Server

__all__ = ["Figures", "find_wrk", "measure"]

_SCRIPT = Path(__file__).with_name("wrk.lua")
_GRACE = 30.0  # what wrk may take beyond its time


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured while wrk was running; times are in seconds."""

    requests: int
    seconds: float
    server_cpu: float
    client_cpu: float
    p50: float
    p99: float

    @property
    def per_cpu_second(self) -> float:
        """Requests for each second of the server's CPU time."""
        return self.requests / self.server_cpu

    @property
    def microseconds(self) -> float:
        """CPU time of the server for each request."""
        return self.server_cpu / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def server_busy(self) -> float:
        """The part of the time for which the server was running."""
        return self.server_cpu / self.seconds

    @property
    def client_busy(self) -> float:
        """The part of the time for which wrk was running."""
        return self.client_cpu / self.seconds


def find_wrk() -> str:
    """Return the path of wrk.

    Raises:
        SystemExit: it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit("wrk is missing: make bench-http installs it, or sudo apt-get install wrk")
    return path


def measure(server: Server, connections: int, seconds: int, headers: Sequence[str] = ()) -> Figures:
    """Have wrk ask for ``/`` for that long, each time with these header fields.

    Raises:
        ProtocolError: not every request was answered with a status below 400.
    """
    host, port = server.address
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT)]
    for header in headers:
        command += ["-H", header]
    command.append(f"http://{host}:{port}/")
    cpu, client_cpu = server.cpu_seconds(), _cpu_of_children()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + _GRACE
    )
    server_cpu = server.cpu_seconds() - cpu
    if done.returncode:
        raise ProtocolError(f"wrk has failed: {done.stdout}{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise ProtocolError(f"not all requests were answered as they should be: {done.stdout}")
    return Figures(
        found["requests"],
        found["duration"] / 1e6,
        server_cpu,
        _cpu_of_children() - client_cpu,
        found["p50"] / 1e6,
        found["p99"] / 1e6,
    )


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
