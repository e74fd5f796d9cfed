"""What the process does to its servers: signals, its exit, and forks.

Managers that belong to no server are treated as servers are.

**Exit.** An `atexit` hook stops the servers that still run, so a program that forgets to stop one
ends nevertheless, and in bounded time.

**Forks.** A forked child has copies of everything but the threads, so it has no running server. A
hook makes that plain there: the servers do not run and can be started again, and connections are
closed for sending. And it closes the child's copies of the descriptors, since a connection or a
listening port is not closed for good while anybody has one. Nothing of it reaches the parent: the
sockets are closed, not shut down, and nothing is done to what both processes share.
"""

from __future__ import annotations

import atexit
import os
import signal
import stat
import threading
import weakref
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from handy_ws.websocket.manager_run import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from handy_ws.http.server import HttpServer

__all__ = ["Running", "add_running", "add_server", "stopping_at_signals"]

#: How long the interpreter's exit may be held up by servers that nobody stopped, in seconds.
_EXIT_TIMEOUT: Final = 1.0

#: Those that stop a server that the main thread waits for.
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Running(Protocol):
    """What has threads that run: a run of a server, or a manager that belongs to none."""

    def stop(self, timeout: float, *, quiet: bool = False) -> None:
        """Ask the threads to end within `timeout` seconds."""

    def wait(self, timeout: float) -> bool:
        """Wait until they have ended, at most `timeout` seconds; say whether they have."""

    def before_fork(self) -> None:
        """Stand still, so that a forked child finds all that it has copies of."""

    def after_fork(self) -> None:
        """Go on, in the parent."""

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's."""


#: All that there are, those that are over perhaps among them.
_running: weakref.WeakSet[Running] = weakref.WeakSet()
_servers: weakref.WeakSet[HttpServer] = weakref.WeakSet()
#: What sets the signal handlers back that `stopping_at_signals` has replaced.
_restoring: list[Callable[[], None]] = []


class _Forking(threading.local):
    """What this thread has done before the fork that it makes."""

    #: The signals that it had blocked before.
    mask: set[signal.Signals | int] | None = None
    #: Those that stand still for it.
    still: tuple[Running, ...] = ()


_forking = _Forking()


def add_server(server: HttpServer) -> None:
    """Have a forked child know of a server."""
    _servers.add(server)


def add_running(running: Running) -> None:
    """Have the exit of the process stop it, and a forked child forget it."""
    _running.add(running)


@contextmanager
def stopping_at_signals(run: Running, timeout: float) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM stop the run, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:
                # None: it was not set from Python, and cannot be set back from here.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        restore()
        run.stop(timeout)

    _restoring.append(restore)
    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
        with suppress(ValueError):
            _restoring.remove(restore)


@atexit.register
def _stop_all() -> None:
    until = monotonic() + _EXIT_TIMEOUT + GRACE
    running = list(_running)
    for run in running:
        run.stop(_EXIT_TIMEOUT, quiet=True)
    for run in running:
        run.wait(max(0.0, until - monotonic()))


def _before_fork() -> None:
    if _servers or _running:
        import_module("handy_ws._core").before_fork()
    _forking.still = tuple(_running)
    for run in _forking.still:
        run.before_fork()
    if _restoring:
        # The handlers are not the child's, and a signal that comes before it has got rid of them
        # must not be lost there.
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _after_fork() -> None:
    still, _forking.still = _forking.still, ()
    for run in still:
        run.after_fork()
    _unblock_signals()


def _unblock_signals() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)
        _forking.mask = None


def _in_forked_child() -> None:
    try:
        _forget_all()
    finally:
        while _restoring:
            _restoring.pop()()
        _forking.still = ()
        _unblock_signals()


def _forget_all() -> None:
    if not _servers and not _running:
        return
    for descriptor in import_module("handy_ws._core").after_fork_in_child():
        _close_watched(descriptor)
    running = list(_running)
    _running.clear()
    for run in running:
        run.forget()
    for server in list(_servers):
        server.forget_run()


def _close_watched(epoll: int) -> None:
    """Close the sockets that the manager's loop waits for, and what it waits with.

    They belong to Rust, on a thread that does not exist here. Which they are only the system knows
    for sure, and it tells what the parent's loop waits for by now: those that the parent has
    accepted since the fork have other inodes than what has the same number here, if anything has.
    """
    try:
        lines = Path(f"/proc/self/fdinfo/{epoll}").read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    for line in lines:
        # tfd: 6 events: 80002019 data: 0  pos:0 ino:c7a641 sdev:9
        name, *fields = line.split()
        if name == "tfd:":
            inode = next((int(field[4:], 16) for field in fields if field[:4] == "ino:"), None)
            with suppress(OSError):
                if _is_socket_or_anonymous(int(fields[0]), inode):
                    os.close(int(fields[0]))
    os.close(epoll)


def _is_socket_or_anonymous(descriptor: int, inode: int | None) -> bool:
    status = os.fstat(descriptor)
    kind = stat.S_IFMT(status.st_mode)
    return status.st_ino == inode and kind in (stat.S_IFSOCK, 0)


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child
)
