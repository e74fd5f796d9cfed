"""Who starts and stops a manager: its server, or the program itself.

A manager that a program has made, beside another server, is started by the first socket that it is
to adopt, or by `start`. Once it was told to stop, it stays so until it is started again, since the
views that still run while a worker process ends must not bring it back.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

from handy_ws.http import process
from handy_ws.websocket.manager_run import ManagerRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws._core import WebSocketManager as Core

__all__ = ["Life", "StoppedError"]

_logger = logging.getLogger("handy_ws")


class StoppedError(Exception):
    """The manager was stopped, and adopts nothing until it is started again."""


class _Phase(Enum):
    r"""What a manager without a server is to do.

    ::

        IDLE ------> STOPPED
          \           ^ |
           \          | v
            `-----> RUNNING

    `stop` leads to STOPPED, `start` to RUNNING, and from IDLE a socket to adopt does, too. A forked
    child begins with IDLE, whatever its parent does.
    """

    IDLE = auto()
    RUNNING = auto()
    STOPPED = auto()


class Life:
    """Whether a manager runs.

    A server says itself when: it calls `open_for_server`. Everything else here is for managers
    without one. All methods may be called from any thread, and by a signal handler meanwhile.
    """

    def __init__(self, core: Core, *, of_server: bool) -> None:
        """Make one that does not run yet."""
        self._core = core
        self._of_server = of_server
        self._phase = _Phase.IDLE
        self._run: ManagerRun | None = None
        self._is_quiet = False
        # Whoever has it may be interrupted by a signal handler that wants to stop the manager.
        self._lock = threading.RLock()
        if not of_server:
            process.add_running(self)

    def open_for_server(self) -> ManagerRun:
        """Make ready to adopt sockets, for a run of the server.

        Raises:
            RuntimeError: the manager runs already, or is not a server's.
            OSError: the system has no more descriptors or threads to give.
        """
        self._run = ManagerRun(self._core)
        return self._run

    def start(self) -> None:
        """Start the thread, unless it runs.

        Raises:
            RuntimeError: it is stopping still, or the manager is a server's.
            OSError: the system has no more descriptors or threads to give.
        """
        self._check_is_own()
        with self._lock:
            self._start()

    def _start(self) -> None:
        is_alive = self._run is not None and self._run.is_alive()
        if is_alive and self._phase is _Phase.STOPPED:
            raise RuntimeError("the manager is stopping still")
        if not is_alive:
            run = ManagerRun(self._core)
            run.start()
            self._run = run
        self._phase = _Phase.RUNNING

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """Have the manager run until the block is left.

        Raises:
            StoppedError: it was stopped.
            RuntimeError: it is a server's that does not run.
            OSError: the system has no more descriptors or threads to give.
        """
        with self._lock:
            if self._phase is _Phase.STOPPED:
                raise StoppedError
            if not self._of_server:
                self._start()
            elif self._run is None or not self._run.is_alive():
                raise RuntimeError("the server of this manager does not run")
            yield

    def stop(self, timeout: float, *, quiet: bool = False) -> None:
        """Ask the manager to end within `timeout` seconds.

        Raises:
            RuntimeError: the manager is a server's.
        """
        self._check_is_own()
        with self._lock:
            was_running = self._phase is _Phase.RUNNING
            self._phase = _Phase.STOPPED
            if self._run is not None and was_running:
                self._is_quiet = quiet
                self._run.shut_down(timeout)
                self._run.finish()  # adoptions need the lock, so there is none on its way

    def wait(self, timeout: float) -> bool:
        """Wait until it has stopped, at most `timeout` seconds; say whether it has.

        Called on a thread of the manager, such as in a callback, it does not wait.
        """
        run = self._run
        if run is None or run.has_current_thread():
            return run is None
        is_over = run.wait(monotonic() + timeout)
        with self._lock:
            if self._run is run and self._phase is _Phase.STOPPED:
                self._run = None
                if not is_over:
                    run.leave_behind()
                    if not self._is_quiet:
                        _logger.warning("the manager stopped without waiting for: %s", run.name)
        return is_over

    def before_fork(self) -> None:
        """Do nothing: the core finds what the manager has."""

    def after_fork(self) -> None:
        """Do nothing."""

    def forget(self) -> None:
        """In a forked child: be as if nothing had been started."""
        self._lock = threading.RLock()  # a thread that does not exist here may have locked it
        self._phase = _Phase.IDLE
        self._run = None
        if not self._of_server:
            process.add_running(self)

    def _check_is_own(self) -> None:
        if self._of_server:
            raise RuntimeError("this manager starts and stops with its server")
