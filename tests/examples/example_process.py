"""One of the examples, run as a user runs it: a process, its output, and Ctrl-C or SIGTERM.

The examples print the address that they serve on; that line is how a test finds the port that the
system chose. Every wait has a deadline, and whoever waits in vain is shown what the process wrote.
"""

from __future__ import annotations

import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.signals import wait_until_caught
from tests.slowness import without_slow_callbacks

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import websocket

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE = 15.0
STOP_DEADLINE = 5.0
#: What an example needs beside `-X dev`, by the faults of others: a worker of gunicorn that is to
#: stop at once does not close the socket that it listens on.
_OPTIONS = {"gunicorn_app.py": ["-W", "ignore:unclosed <socket:ResourceWarning"]}


def hang_up(client: websocket.WebSocket, *, reset: bool = False) -> None:
    """End the TCP connection without a goodbye: by FIN, or by RST as a machine that restarts."""
    if client.sock is None:
        return  # it has gone already
    if reset:
        lingering = struct.pack("ii", 1, 0)  # for no time, so close() sends a reset
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    client.sock.close()


class Example:
    """A running example, as a context manager that interrupts it and checks that it ends well.

    Args:
        script: the file, relative to the directory of the examples.
        directory: where its standard error is kept.
        options: more of them for the script.

    Raises:
        AssertionError: it printed no address in time, or it did not end as it should.
    """

    def __init__(self, script: str, directory: Path, *options: str) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # As in the background of a shell: a child would inherit that, and be deaf to Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._errors = directory / f"{Path(script).stem}.stderr"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-X", "dev", *_OPTIONS.get(script, [])),
                    *(str(EXAMPLES / script), "--port", "0", *options),
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._seen: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            address = self.wait_for_line(r"://([\w.]+):(\d+)")
        except AssertionError:
            self.kill()
            raise
        self.host, self.port = address[1], int(address[2])

    def __enter__(self) -> Self:
        """Use it in a `with` statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Interrupt it, unless the test did, and let no process outlive a test that failed."""
        try:
            if exception is None and self.process.returncode is None:
                self.end(signal.SIGINT)
        finally:
            self.kill()

    def url(self, path: str = "/", scheme: str = "ws") -> str:
        """Return the URL of something that it serves."""
        return f"{scheme}://{self.host}:{self.port}{path}"

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Read its standard output up to a line in which the pattern is found."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                message = f"no line with {pattern!r} in {self._seen}\n{self.errors()}"
                raise AssertionError(message)
            self._seen.append(line)
            if match := re.search(pattern, line):
                return match

    def end(self, number: signal.Signals) -> None:
        """Send a signal, as Ctrl-C does. It must end soon, successfully and without complaint."""
        # It tells its address before it waits, and is not to be interrupted in between.
        wait_until_caught(self.process, signal.SIGTERM)
        self.process.send_signal(number)
        try:
            code = self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            message = f"still running {STOP_DEADLINE} s after {number.name}\n{self.errors()}"
            raise AssertionError(message) from None
        errors = self.errors()
        assert (code, errors) == (0, ""), f"exit code {code}\n{errors}"

    def errors(self) -> str:
        """Return what it wrote to its standard error."""
        return without_slow_callbacks(self._errors.read_text())

    def kill(self) -> None:
        """End it in any case."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)
