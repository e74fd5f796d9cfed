"""When a process is ready for a signal, which the process itself cannot tell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    import subprocess

DEADLINE = 10.0  # seconds


def wait_until_caught(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Wait until the process has a handler for a signal (proc_pid_status(5), SigCgt).

    `HttpServer.wait` is the only one that handles SIGTERM, and it does that after SIGINT: whoever
    has waited for the handler of SIGTERM can send either.

    Raises:
        AssertionError: it has none in time, or has ended.
    """
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + DEADLINE
    while True:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        # A process that has ended and was not waited for has no masks that mean anything.
        if int(fields["SigCgt"], 16) >> (number - 1) & 1:
            return
        assert process.poll() is None, f"it ended instead of waiting for {number.name}"
        assert time.monotonic() < deadline, f"it does not handle {number.name}"
        time.sleep(0.001)
