"""The processes of the soak, and what the system says of one."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_TICKS = os.sysconf("SC_CLK_TCK")
#: What docs/deployment.md says about memory: otherwise most of what is resident is what glibc has
#: kept from the busiest moments, and it is seldom given back.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "32768",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


@dataclass(frozen=True)
class Usage:
    """What a process uses."""

    memory: int
    descriptors: int
    threads: int
    cpu_time: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Ask the system."""
        proc = Path(f"/proc/{pid}")
        # Behind the name, which is in parentheses: proc_pid_stat(5), from field 3 on.
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        return cls(
            memory=int((proc / "statm").read_text().split()[1]) * mmap.PAGESIZE,
            descriptors=sum(1 for _ in (proc / "fd").iterdir()),
            threads=int(fields[17]),
            cpu_time=(int(fields[11]) + int(fields[12])) / _TICKS,
        )


class Program:
    """A module that runs as a process and is spoken to in lines."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.soak.{module}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | _ENVIRONMENT,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def read(self) -> str:
        """Return the next line, or nothing when the process has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a line, and return the JSON that answers it."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.read())
        return answer

    def end_input(self) -> None:
        """Say that it is to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # if it has not ended
        self.process.wait()


@dataclass
class Seen:
    """What the clients of a process have reported."""

    last: dict[str, Any] = field(default_factory=dict)
    pong_times: list[float] = field(default_factory=list)
    echo_times: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class Clients(Program):
    """A process of clients, whose reports are collected by a thread."""

    def __init__(self, port: int, kind: str, count: int) -> None:
        super().__init__("load", port, kind, count)
        self._lock = threading.Lock()
        self._seen = Seen()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def wait_until_there(self) -> None:
        """Wait for all to be connected; then collect what they report."""
        line = self.read()
        if line != "ready":
            raise RuntimeError(f"the clients have failed: {line}")
        self._thread.start()

    def _collect(self) -> None:
        while line := self.read():
            report = json.loads(line)
            with self._lock:
                self._seen.last = report
                self._seen.pong_times += report["pong_times"]
                self._seen.echo_times += report["echo_times"]
                self._seen.complaints += report["complaints"]

    def take(self) -> Seen:
        """Return what was reported since the last time.

        Raises:
            RuntimeError: the process has failed.
        """
        if self.process.poll():
            raise RuntimeError(f"the clients have failed: {self.process.returncode}")
        with self._lock:
            seen, self._seen = self._seen, Seen(self._seen.last)
            return seen

    def leave(self, patience: float) -> Seen:
        """Let all clients leave; what they have seen in the end."""
        self.end_input()
        self._thread.join(patience)
        if self._thread.is_alive():
            raise RuntimeError("the clients do not end")
        return self.take()
