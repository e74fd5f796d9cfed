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
    from contextlib import AbstractContextManager

__all__ = ["Server", "cores", "raise_file_limit", "running", "started"]

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
        #: Whether it waits when it has nothing to do, as a server should.
        self.sleeps = True
        self._pid = pid
        self._proc = Path("/proc", str(pid))

    def cpu_seconds(self) -> float:
        """Wait until it has nothing more to do, and return its user and system time.

        It is that of all threads, also of those that have ended, by the process's own clock: to the
        nanosecond, but only for threads that sleep. What one has used since it began to run is
        added when it stops, or by the next tick of the kernel, which may be 4 ms later. Processes
        that it has started, and that have not ended, count too. A server that never sleeps is not
        waited for.

        Raises:
            RuntimeError: the server keeps running.
        """
        deadline = time.monotonic() + _IDLE_TIMEOUT
        pids = self._tree()
        while self.sleeps and not _are_asleep(pids):
            if time.monotonic() > deadline:
                raise RuntimeError("the server has nothing to do, but keeps running")
            os.sched_yield()  # in case that there is one core for both
        return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)

    def context_switches(self) -> int:
        """Return how often its threads have begun to wait, or were made to, until now."""
        total = 0
        for path in self._proc.glob("task/*/status"):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(":")
                if name.endswith("_ctxt_switches"):
                    total += int(value)
        return total

    def _tree(self) -> list[int]:
        """Return its process and all that descend from it."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                parents[int(path.parent.name)] = int(_fields_of_stat(path)[1])
        found = [self._pid]
        for pid in found:  # grows meanwhile
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def anonymous_bytes(self) -> int:
        """Return its anonymous memory: heap, stacks and all else that no file backs."""
        return self._fields("smaps_rollup", "Anonymous", "Swap")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list((self._proc / "fd").iterdir()))

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


def _are_asleep(pids: Sequence[int]) -> bool:
    return all(
        _fields_of_stat(path)[0] != _RUNNING
        for pid in pids
        for path in Path("/proc", str(pid)).glob("task/*/stat")
    )


def _fields_of_stat(path: Path) -> list[str]:
    """Return what proc(5) has from the third field on: the state, the parent, and so on."""
    # The name before it is in parentheses and may contain anything.
    return path.read_text().rpartition(")")[2].split()


def _cpu_clock(pid: int) -> int:
    """Return the clock of a process's CPU time."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return clock.value


def running(module: str, arguments: Sequence[str] = ()) -> AbstractContextManager[Server]:
    """Start `python -m benchmarks.servers.MODULE` as a server: see `started`."""
    return started([sys.executable, "-m", f"benchmarks.servers.{module}", *arguments])


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[Server]:
    """Start a server, which prints its port, on the server's core; end it with the block.

    This process is on the client's core afterwards.

    Raises:
        RuntimeError: the server has not started.
    """
    signal.signal(
        signal.SIGTERM, _exit
    )  # or a program that is told to end leaves its server behind
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
