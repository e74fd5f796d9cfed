"""A command line that is run as a user runs it: in a process, in a directory with a program."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from tests.http.raw_http import RawClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

DEADLINE = 20.0  # seconds
SERVING = r"^Serving on https?://([\w.:\[\]]+):(\d+)$"


def get(address: tuple[str, int], target: str = "/") -> str:
    """Return the body that a server answers with to a GET request."""
    with RawClient(address) as client:
        return client.get(target).body.decode()


class Program:
    """A running command, with all that it writes.

    Args:
        arguments: of the interpreter.
        directory: in which it runs.
        descriptors: what else it gets.
    """

    def __init__(
        self, arguments: list[str], directory: Path, descriptors: Sequence[int] = ()
    ) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # As in the background of a shell: a child would inherit that, and be deaf to Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", *arguments],
            cwd=directory,
            # Programs are changed faster than the times of files tell.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=descriptors,
            start_new_session=True,  # so that all of its processes can be sent a signal
        )
        assert self.process.stdout
        assert self.process.stderr
        self._output: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._output.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let no process outlive the test."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def address(self) -> tuple[str, int]:
        """Wait until it serves, and return where."""
        found = self.line(SERVING)
        return found[1].strip("[]"), int(found[2])

    def line(self, pattern: str) -> re.Match[str]:
        """Read its standard output up to a line in which the pattern is found."""
        until = time.monotonic() + DEADLINE
        seen: list[str] = []
        while True:
            try:
                line = self._output.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                message = f"no line with {pattern!r} in {seen}\n{self.error()}"
                raise AssertionError(message) from None
            seen.append(line)
            if found := re.search(pattern, line):
                return found

    def error(self) -> str:
        """Return what it has written to its standard error so far."""
        return "".join(self.errors)

    def wait_for_error(self, text: str, count: int = 1) -> None:
        """Wait until a text was written so often to its standard error."""
        until = time.monotonic() + DEADLINE
        while self.error().count(text) < count:
            assert time.monotonic() < until, f"not {count} times {text!r} in\n{self.error()}"
            time.sleep(0.01)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, and wait for the end; return the exit status."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
            assert not reader.is_alive(), "a process lives on that it has started"
        return status

    def rest(self) -> list[str]:
        """Return the lines of its output that were not read before the end."""
        lines = []
        while not self._output.empty():
            lines.append(self._output.get())
        return lines

    @staticmethod
    def _read(stream: IO[str], take: object) -> None:
        assert callable(take)
        with stream:
            for line in stream:
                take(line)
