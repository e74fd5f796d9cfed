"""One run of a server: its threads, and how they end.

Stopping is the acceptor's last act, on its own thread: it lets the requests in work come to an
end, then waits for the workers and the manager. What does not end in time is left behind, and in
no way of the next run. All threads are daemons: they never hold up the interpreter's exit.
"""

from __future__ import annotations

import logging
import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from handy_ws.http.acceptor import Acceptor
from handy_ws.http.listener import Listener
from handy_ws.http.response import Answers
from handy_ws.http.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import WebSocketManager
    from handy_ws.http.server import HttpServer

__all__ = ["GRACE", "Run", "runs"]

_logger = logging.getLogger("handy_ws")

#: The part of the timeout that WebSocket peers have to answer our CLOSE.
_MANAGER_SHARE: Final = 0.9
#: How much later than its timeout a stop may be over, for threads to be joined, in seconds.
GRACE: Final = 0.5
#: How long a start that fails half-way may wait for the threads that it has started, in seconds.
_START_TIMEOUT: Final = 1.0


class Run:
    """One run of a server, from start to stop.

    Attributes:
        acceptor: the thread that ends when all is over.
    """

    def __init__(
        self,
        server: HttpServer,
        handle: Callable[..., Any],
        manager: WebSocketManager,
        on_end: Callable[[Run], None],
    ) -> None:
        """Bind the address.

        Args:
            server: whose run it is.
            handle: the handler.
            manager: the server's manager.
            on_end: called with the run when it is over, on the acceptor's thread.

        Raises:
            OSError: the address cannot be bound; nothing is left open.
        """
        config = server.config
        self._manager = manager
        self._on_end = on_end
        self._stopping = threading.Lock()
        self._started = threading.Event()
        self._quiet = False
        answers = Answers(config.default_headers)
        listener = Listener.open(config)
        try:
            manager.open()
            try:
                self.acceptor = Acceptor(listener, config, answers, self._finish)
            except BaseException:
                manager.shut_down(0.0)
                manager.finish()
                manager.run()  # to its immediate end
                raise
        except BaseException:
            listener.stop()
            raise
        self._workers = [
            Worker(number, server, handle, self.acceptor, answers)
            for number in range(1, config.workers + 1)
        ]
        self.acceptor.count_on(self._workers)
        self._manager_thread = threading.Thread(
            target=manager.run, name="handy-ws-manager", daemon=True
        )
        runs.add(self)

    def start(self) -> None:
        """Start all threads, or none."""
        try:
            self._manager_thread.start()
            for worker in self._workers:
                worker.start()
            self.acceptor.start()
        except RuntimeError:
            # The system has no more threads to give. The acceptor's end is the end of all.
            self.stop(_START_TIMEOUT)
            self.acceptor.run()
            raise
        finally:
            self._started.set()

    def stop(self, timeout: float, *, quiet: bool = False) -> None:
        """Ask all threads to end within `timeout` seconds. Only the first call counts."""
        if self._stopping.acquire(blocking=False):
            self._quiet = quiet
            websockets = len(self._manager)
            # It ends a little earlier, so that the last callbacks still have their time.
            self._manager.shut_down(timeout * _MANAGER_SHARE)
            self.acceptor.stop(monotonic() + timeout)
            _logger.info("the server stops; WebSocket connections to close: %d", websockets)

    def is_stopping(self) -> bool:
        """Say whether `stop` has been called."""
        return self._stopping.locked()

    def has_current_thread(self) -> bool:
        """Say whether this run has to wait for the thread that asks."""
        current = threading.current_thread()
        threads = (self.acceptor, self._manager_thread, *self._workers)
        return current in threads or self._manager.calls_back_here()

    def wait(self, timeout: float) -> bool:
        """Wait until all threads have ended, at most `timeout` seconds; say whether they have."""
        # Another thread may still be starting them, and what has not been cannot be joined.
        if not self._started.wait(timeout):
            return False
        if self.acceptor.ident is not None:
            self.acceptor.join(timeout)
        return not self.acceptor.is_alive()

    def _finish(self, until: float) -> None:
        """Wait for the other threads; called last on the acceptor's thread."""
        self.stop(max(0.0, until - monotonic()))
        for worker in self._workers:
            _join(worker, until)
        self._manager.finish()  # no worker is left that could upgrade a connection
        _join(self._manager_thread, until)
        stuck = [worker.name for worker in self._workers if worker.is_alive()]
        if self._manager_thread.is_alive():
            stuck.append(self._manager_thread.name)
            self._manager.leave_behind()
        if stuck and not self._quiet:
            _logger.warning("the server stopped without waiting for: %s", ", ".join(stuck))
        self._on_end(self)


def _join(thread: threading.Thread, until: float) -> None:
    """Wait for a thread, if it was started, until that time of the monotonic clock."""
    if thread.ident is not None:
        # Even without time left, a thread that is about to end gets the chance.
        thread.join(max(GRACE / 10, until - monotonic()))


#: All that there are, those that are over perhaps among them.
runs: weakref.WeakSet[Run] = weakref.WeakSet()
