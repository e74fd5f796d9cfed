"""The chat example as a process that a test can kill and start again on the same port.

And what else the tests of its page need that is neither a fixture nor the browser.
"""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

if TYPE_CHECKING:
    from websockets.sync.connection import Connection

    from tests.certificates import Issued

# Chromium itself writes this on the console, for every attempt to connect that fails.
UNREACHABLE = "WebSocket connection to "
# The page writes this for every "error" message of the server.
REFUSED = "refused: "
SCRIPT = Path(__file__).parents[2] / "examples" / "chat" / "server.py"
DEADLINE = 15.0


class ChatServer:
    """The server, and robots that visit it without a browser."""

    def __init__(self, certificate: Issued | None = None) -> None:
        self._certificate = certificate
        self.port = 0  # the system chooses at the first start; then it stays
        self._process: subprocess.Popen[str] | None = None
        self._robots = ExitStack()

    @property
    def url(self) -> str:
        """The address of the page."""
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it serves."""
        options = ["--port", str(self.port)]
        if self._certificate is not None:
            certificate, private_key = map(str, self._certificate)
            options += ["--certificate", certificate, "--private-key", private_key]
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process = process
        output = process.stdout
        assert output is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=lambda: lines.put(output.readline())).start()
        match = re.search(r":(\d+)/", lines.get(timeout=DEADLINE))
        assert match, "the chat server did not print its address"
        self.port = int(match[1])

    def kill(self) -> None:
        """End it at once: SIGKILL, no goodbye to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> None:
        """Send the robots away and end it."""
        self._robots.close()
        self.kill()

    def robot(self, name: str) -> Robot:
        """Let somebody join who is no browser."""
        url = f"ws://127.0.0.1:{self.port}/chat"
        # Nobody reads what a robot hears: without a bound on that, its CLOSE frames still are.
        socket = self._robots.enter_context(connect(url, max_queue=None))
        return Robot(socket, name)


class Problems:
    """What browsers complained about on their consoles, and what of that is to be expected."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        """Add a complaint."""
        self._seen.append(text)

    def expect(self, prefix: str) -> None:
        """Take complaints that begin like this for granted, earlier and later ones."""
        self._expected += (prefix,)

    def unexpected(self) -> list[str]:
        """Return all others."""
        return [text for text in self._seen if not text.startswith(self._expected)]


class Robot:
    """A member of the chat that only talks."""

    def __init__(self, socket: Connection, name: str) -> None:
        self._socket = socket
        self._send(type="join", name=name)
        while json.loads(socket.recv(timeout=DEADLINE))["type"] != "welcome":
            pass

    def say(self, text: str) -> None:
        """Say something."""
        self._send(type="say", text=text)

    def type(self) -> None:
        """Pretend to be typing."""
        self._send(type="typing")

    def leave(self) -> None:
        """Go."""
        self._socket.close()

    def _send(self, **message: Any) -> None:
        self._socket.send(json.dumps(message))
