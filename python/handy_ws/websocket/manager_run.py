"""One run of a manager: its thread, and how that ends."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from handy_ws._core import WebSocketManager as Core

__all__ = ["DEFAULT_TIMEOUT", "GRACE", "ManagerRun", "check_timeout", "join"]

#: The part of the timeout that WebSocket peers have to answer our CLOSE.
_SHARE: Final = 0.9
#: How much later than its timeout a stop may be over, for threads to be joined, in seconds.
GRACE: Final = 0.5
#: How long a stop may take unless somebody says otherwise, in seconds.
DEFAULT_TIMEOUT: Final = 10.0
_MAX_TIMEOUT: Final = 1e6


class ManagerRun:
    """The thread of a manager, from when it can adopt sockets to when it has let go of them all.

    It is a daemon: it never holds up the interpreter's exit.
    """

    def __init__(self, core: Core) -> None:
        """Make ready to adopt sockets; `start` or `discard` must follow.

        Raises:
            RuntimeError: the manager runs already.
            OSError: the system has no more descriptors or threads to give.
        """
        core.open()
        self._core = core
        self._thread = threading.Thread(target=core.run, name="handy-ws-manager", daemon=True)

    @property
    def name(self) -> str:
        """The name of the thread."""
        return self._thread.name

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system has no more threads to give; nothing is left.
        """
        try:
            self._thread.start()
        except RuntimeError:
            self.discard()
            raise

    def discard(self) -> None:
        """Come to an immediate end without a thread."""
        self.shut_down(0.0)
        self._core.finish()
        self._core.run()

    def shut_down(self, timeout: float) -> None:
        """Close all connections with 1001; cut off what is not closed within `timeout` seconds."""
        # It ends a little earlier, so that the last callbacks still have their time.
        self._core.shut_down(timeout * _SHARE)

    def finish(self) -> None:
        """Say that no socket will be adopted any more, so that the thread may end."""
        self._core.finish()

    def wait(self, until: float) -> bool:
        """Wait for the thread until that time of the monotonic clock; say whether it has ended."""
        join(self._thread, until)
        return not self._thread.is_alive()

    def leave_behind(self) -> None:
        """Go on without a thread that does not end, because a callback does not return."""
        self._core.leave_behind()

    def is_alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def has_current_thread(self) -> bool:
        """Say whether this run has to wait for the thread that asks: its own, or an executor's."""
        return threading.current_thread() is self._thread or self._core.calls_back_here()


def join(thread: threading.Thread, until: float) -> None:
    """Wait for a thread, if it was started, until that time of the monotonic clock."""
    if thread.ident is not None:
        # Even without time left, a thread that is about to end gets the chance.
        thread.join(max(GRACE / 10, until - monotonic()))


def check_timeout(timeout: float) -> None:
    """Check the timeout of a stop.

    Raises:
        ValueError: it is negative, not a number, or more than a million seconds.
    """
    if not 0 <= timeout <= _MAX_TIMEOUT:
        raise ValueError(f"timeout must be from 0 to {_MAX_TIMEOUT:g} seconds, not {timeout!r}")
