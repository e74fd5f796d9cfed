"""Another server that runs the program `app.py`, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.http.raw_http import RawClient, get
from tests.websocket.raw_websocket import RawWebSocket, request_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from tests.http.raw_http import Response

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0

_GUNICORN = ["gunicorn", "--bind=127.0.0.1:0", "--access-logfile=-", "--no-control-socket"]
#: One thread, and fewer connections than the tests open: an open WebSocket holds neither.
COMMANDS = {
    "gthread": [*_GUNICORN, "--threads=1", "--worker-class=gthread", "--worker-connections=3"],
    "sync": [*_GUNICORN, "--worker-class=sync"],
    "werkzeug": ["flask", "--app=tests.beside.app", "run", "--port=0"],
}
APP = "tests.beside.app:app"
DJANGO_APP = "tests.beside.django_app:application"


class OtherServer:
    """One that runs, as a context manager that stops it.

    Args:
        kind: which, of `COMMANDS`.
        app: what gunicorn serves.
        options: more for the command line.
        environment: more for the environment.
    """

    def __init__(self, kind: str, *options: str, app: str = APP, **environment: str) -> None:
        command = [sys.executable, "-m", *COMMANDS[kind], *options]
        if kind != "werkzeug":
            command.append(app)
        # Ctrl-C is how the development server is stopped in good order.
        self._signal = signal.SIGINT if kind == "werkzeug" else signal.SIGTERM
        self._is_stopping = False
        self.has_faults = False  # that are a part of the test
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # As in the background of a shell: a child would inherit that, and be deaf to Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.log: list[str] = []
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            found = self.wait_for(r"https?://([\d.]+):(\d+)")
        except AssertionError:
            self.kill()
            raise
        self.address = found[1], int(found[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exception is None:
                self.stop()
        finally:
            self.kill()

    def begin_to_stop(self, number: signal.Signals | None = None) -> None:
        """Send the signal by which its users stop it, or another one."""
        self._is_stopping = True
        self._process.send_signal(self._signal if number is None else number)

    def stop(self) -> None:
        """Stop it as its users do. It must not have complained of anything."""
        if not self._is_stopping:
            self.begin_to_stop()
        status = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert status == 0, self.log
        assert self.has_faults or self.complaints() == [], self.log

    def complaints(self) -> list[str]:
        """Return the lines of the log that tell of a fault."""
        faults = re.compile(r"Traceback|\[(ERROR|CRITICAL|WARNING)\]|Error\b|Exception")
        return [line for line in self.log if faults.search(line)]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log in which the pattern is found."""
        deadline = time.monotonic() + DEADLINE
        while True:
            for line in list(self.log):
                if found := re.search(pattern, line):
                    return found
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.005)

    def get(self, path: str) -> Response:
        """Return the response to a request on a connection of its own."""
        with RawClient(self.address) as client:
            return client.request(get(path))

    def state(self) -> Any:
        """Return what the program says of itself."""
        return json.loads(self.get("/state").body)

    def wait_until(self, condition: Callable[[Any], bool]) -> Any:
        """Ask for the state until something is so; return it."""
        deadline = time.monotonic() + DEADLINE
        while not condition(state := self.state()):
            assert time.monotonic() < deadline, state
            time.sleep(0.005)
        return state

    def connect(self, path: str = "/echo", behind: bytes = b"") -> RawWebSocket:
        """Return a WebSocket; `behind` is sent along with the handshake."""
        client = RawWebSocket(self.address)
        client.send(request_head(path) + behind)
        status, headers = client.read_response_head()
        assert status == 101, (status, headers)
        return client

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()
        self._reader.join(DEADLINE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.log.append(line.rstrip("\n"))
