"""Processes: starting a server on its core, its CPU time and its memory. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Server", "cores", "raise_file_limit", "running"]

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0
_IDLE_TIMEOUT = 10.0
_KIB = 1024
_RUNNING = "R"  # proc(5), /proc/PID/stat
_RESET_PEAK = "5"  # proc(5), /proc/PID/clear_refs

_available = sorted(os.sched_getaffinity(0))  # before this process pins itself


def cores() -> tuple[int, int]:
    """Return the cores of the server and of the client; they are the same if there is only one."""
    return _available[0], _available[1 % len(_available)]


def raise_file_limit(wanted: int) -> None:
    """Allow this process, and those that it starts, to open that many files.

    Raises:
        SystemExit: the system allows fewer.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{wanted} files must be open at once, but ulimit -Hn is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server:
    """A server that runs: its address, and what /proc and the clocks know of its process."""

    def __init__(self, pid: int, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self._proc = Path("/proc", str(pid))
        clock = ctypes.c_int()
        error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise OSError(error, os.strerror(error))
        self._clock = clock.value

    def cpu_seconds(self) -> float:
        """Wait until it has nothing more to do, and return its user and system time.

        It is that of all threads, also of those that have ended, by the process's own clock: to the
        nanosecond, but only for threads that sleep. What one has used since it began to run is
        added when it stops, or by the next tick of the kernel, which may be 4 ms later.

        Raises:
            RuntimeError: the server keeps running.
        """
        deadline = time.monotonic() + _IDLE_TIMEOUT
        while not self._is_asleep():
            if time.monotonic() > deadline:
                raise RuntimeError("the server has nothing to do, but keeps running")
            os.sched_yield()  # in case that there is one core for both
        return time.clock_gettime(self._clock)

    def context_switches(self) -> int:
        """Return how often its threads have begun to wait, or were made to, until now."""
        total = 0
        for path in self._proc.glob("task/*/status"):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(":")
                if name.endswith("_ctxt_switches"):
                    total += int(value)
        return total

    def _is_asleep(self) -> bool:
        # The state follows the name, which is in parentheses and may contain anything.
        stats = [path.read_text() for path in self._proc.glob("task/*/stat")]
        return all(stat.rpartition(")")[2].split()[0] != _RUNNING for stat in stats)

    def anonymous_bytes(self) -> int:
        """Return its anonymous memory: heap, stacks and all else that no file backs."""
        return self._fields("smaps_rollup", "Anonymous", "Swap")

    def resident_bytes(self) -> int:
        """Return its resident memory."""
        return self._fields("status", "VmRSS")

    def peak_bytes(self) -> int:
        """Return the most memory that has been resident since `reset_peak`."""
        return self._fields("status", "VmHWM")

    def reset_peak(self) -> None:
        """Let the peak begin again at what is resident now."""
        (self._proc / "clear_refs").write_text(_RESET_PEAK)

    def _fields(self, file: str, *names: str) -> int:
        total = 0
        for line in (self._proc / file).read_text().splitlines():
            name, _, value = line.partition(":")
            if name in names:
                total += int(value.split()[0]) * _KIB
        return total


@contextlib.contextmanager
def running(module: str, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """Start `python -m benchmarks.servers.MODULE` on the server's core; end it with the block.

    This process is on the client's core afterwards.

    Raises:
        RuntimeError: the server has not started.
    """
    signal.signal(
        signal.SIGTERM, _exit
    )  # or a program that is told to end leaves its server behind
    command = [sys.executable, "-m", f"benchmarks.servers.{module}", *arguments]
    server_core, client_core = cores()
    os.sched_setaffinity(0, {server_core})  # what is started now inherits it
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT, text=True)
    finally:
        os.sched_setaffinity(0, {client_core})
    watchdog = threading.Timer(_START_TIMEOUT, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
        watchdog.cancel()
        if not line.strip().isdigit():
            raise RuntimeError(f"the server did not start: {' '.join(command)}")
        yield Server(process.pid, int(line))
        if process.poll() is not None:
            raise RuntimeError(f"the server has died, with status {process.returncode}")
    finally:
        watchdog.cancel()
        _end(process)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
