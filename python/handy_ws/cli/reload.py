"""``--reload``: a parent watches the files, and has the server start again in a new process.

A child is the same command line once more, told by an environment variable that it is a child. Both
hold an end of a socket. The child tells its port, so that the next one gets the same if it was free
to choose. And it stops when its end of the socket is at its end: because the parent wants it to, or
because the parent is gone, whatever became of it. That takes no signal, so it does not matter that
a terminal sends Ctrl-C to both.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Self

    from watchfiles import Change

    from handy_ws.config import ServerConfig
    from handy_ws.http.server import HttpServer

__all__ = ["Parent", "serve_reloading"]

#: Tells a child that it is one: the descriptor of its end of the socket, and the port to use.
_VARIABLE: Final = "HANDY_WS_RELOAD"
#: How long the clients of a server may take to say goodbye, in seconds. It will soon be back.
_STOP_TIMEOUT: Final = 1.0
#: How long a child may take to end, in seconds: threads of the program may hold it up.
_RESTART_TIMEOUT: Final = 3.0
#: The same when all is to end, where clients may take as long as without ``--reload``.
_END_TIMEOUT: Final = 15.0
#: How often the parent looks whether its child is still there, in milliseconds.
_LOOK: Final = 100
_WRONG_ARGUMENTS: Final = click.UsageError.exit_code


class Parent:
    """The parent, as a child knows it."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        """Make it of the child's end of the socket, and the port of the children before."""
        self._sock = sock
        self._port = port
        self._server: HttpServer | None = None
        threading.Thread(target=self._follow, name="handy-ws-reload", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> Self | None:
        """Return the parent of this process, if there is one that has it serve."""
        told = os.environ.pop(_VARIABLE, None)
        if told is None:
            return None
        descriptor, port = map(int, told.split(":"))
        # The children of this one have nothing to do with it.
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor), port)

    def with_same_port(self, config: ServerConfig) -> ServerConfig:
        """Return the config with the port of the child before, if any will do."""
        return replace(config, port=self._port) if config.port == 0 else config

    def is_told(self, server: HttpServer) -> None:
        """Tell the parent where a server of this process listens."""
        self._server = server
        if not isinstance(server.address, str):
            self._sock.sendall(b"%d" % server.address[1])

    def _follow(self) -> None:
        """End with the parent."""
        with suppress(ConnectionResetError):  # the parent has ended without reading the port
            self._sock.recv(1)
        if self._server is None:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            # If a signal is stopping it already, that goes on as it was.
            self._server.stop(_STOP_TIMEOUT)


def serve_reloading(directories: Sequence[str], patterns: Sequence[str]) -> int:
    """Serve in a child, and in another one whenever a file has changed, until a signal comes.

    A child that fails is not the end: the next change may be what it needs.

    Args:
        directories: where to look for changes.
        patterns: which files matter, by their names, besides those of Python.

    Returns:
        The exit status.
    """
    try:
        from watchfiles import DefaultFilter, watch  # noqa: PLC0415 - it may not be there
    except ModuleNotFoundError as error:
        if error.name != "watchfiles":
            raise
        message = "--reload needs watchfiles: pip install 'handy-ws[reload]'"
        raise click.UsageError(message) from None
    is_source = DefaultFilter()

    def matters(change: Change, path: str) -> bool:
        wanted = any(fnmatchcase(Path(path).name, pattern) for pattern in ("*.py", *patterns))
        return wanted and is_source(change, path)

    children = _Children()
    for changes in watch(
        *directories,
        watch_filter=None,
        stop_event=children.ended,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
    ):
        # The first look comes after the watch has begun, so no change can have gone unseen.
        relative = {(change, os.path.relpath(path)) for change, path in changes}
        children.look({path for change, path in relative if matters(change, path)})
    return children.end()


class _Children:
    """The children, one at a time.

    Attributes:
        ended: set when there will be no more.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._child: _Child | None = None
        self._port = 0
        self._failure_is_told = False
        # Arguments that were wrong from the beginning are not mended by changing a file.
        self._final = {0, _WRONG_ARGUMENTS}
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def look(self, changed: set[str]) -> None:
        """Start a child if there was none, or another one if files have changed."""
        if self._child is None:
            self._child = _Child(self._port)
        elif changed:
            click.echo(f"Starting again, because of {', '.join(sorted(changed))}", err=True)
            self._port = self._child.port(self._port)
            self._child.end(_RESTART_TIMEOUT)
            self._failure_is_told = False
            self._final = {0}
            if not self.ended.is_set():
                self._child = _Child(self._port)
        elif self._child.status() in self._final:
            self.ended.set()
        elif self._child.status() is not None and not self._failure_is_told:
            self._failure_is_told = True
            click.echo("The program has failed. A change of its files starts it again.", err=True)

    def end(self) -> int:
        """End the child, and return its exit status."""
        if self._child is None:
            return 0
        self._child.end(_END_TIMEOUT)
        return self._child.status() or 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.ended.is_set() and self._child is not None:
            self._child.kill()
        self.ended.set()


class _Child:
    """A process that serves, as the parent knows it."""

    def __init__(self, port: int) -> None:
        """Start it, to listen at `port` if it is free to choose; 0 is any port."""
        self._sock, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            self._process = subprocess.Popen(  # noqa: S603 - this same program
                [sys.executable, *sys.orig_argv[1:]],
                env=os.environ | {_VARIABLE: f"{theirs.fileno()}:{port}"},
                # It gets what this process was given, such as a socket to listen on.
                close_fds=False,
            )

    def status(self) -> int | None:
        """Return its exit status, as a shell would have it; None as long as it runs."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def port(self, default: int) -> int:
        """Return the port that it has told, or the default if it has told none."""
        try:
            return int(self._sock.recv(16, socket.MSG_DONTWAIT) or default)
        except OSError:
            return default

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()

    def end(self, timeout: float) -> None:
        """Have it end, within that many seconds if it can, and wait for that."""
        self._sock.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
