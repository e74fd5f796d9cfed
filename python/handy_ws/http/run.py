"""One run of a server: its threads, and how they end.

Stopping is the acceptor's last act, on its own thread: it lets the requests in work come to an
end, then waits for the workers and the manager. What does not end in time is left behind, and in
no way of the next run. All threads are daemons: they never hold up the interpreter's exit.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

from handy_ws._core import Reception
from handy_ws.http import process
from handy_ws.http.acceptor import Acceptor
from handy_ws.http.listener import Listener, local_address
from handy_ws.http.pool import WorkerPool
from handy_ws.http.response import Answers
from handy_ws.http.service import Service
from handy_ws.http.worker import Worker
from handy_ws.websocket.manager_run import join

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import TlsContext
    from handy_ws.http.handlers import Handler
    from handy_ws.http.server import HttpServer
    from handy_ws.websocket.manager import WebSocketManager

__all__ = ["Run"]

_logger = logging.getLogger("handy_ws")

#: The part of the timeout that clients have to send the rest of a body that a handler reads.
_PATIENCE: Final = 0.9
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
        handler: Handler,
        manager: WebSocketManager,
        tls: TlsContext | None,
        on_end: Callable[[Run], None],
    ) -> None:
        """Bind the address.

        Args:
            server: whose run it is.
            handler: the handler.
            manager: the server's manager.
            tls: what to speak TLS with; None to speak none.
            on_end: called with the run when it is over, on the acceptor's thread.

        Raises:
            OSError: the address cannot be bound; nothing is left open.
            ValueError: the files of `tls` have to be read again, as in a forked child, and are of
                no use.
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
            self._manager_run = manager.life.open_for_server()
            try:
                local = local_address(listener.address)
                reception = Reception(manager.core, local, config, tls)
                self.acceptor = Acceptor(listener, config, reception, answers, self._finish)
            except BaseException:
                self._manager_run.discard()
                raise
        except BaseException:
            listener.stop()
            raise
        acceptor = self.acceptor

        def make_service(on_long_wait: Callable[[], bool]) -> Service:
            return Service(server, handler, acceptor, answers, on_long_wait=on_long_wait)

        self._pool = WorkerPool(
            lambda number, pool: Worker(number, acceptor, make_service, pool=pool),
            config.workers,
            config.spare_workers,
        )
        acceptor.count_on(self._pool, make_service(_is_not_replaced))
        process.add_running(self)

    def start(self) -> None:
        """Start all threads, or none."""
        try:
            self._manager_run.start()
            self._pool.start()
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
            self._manager_run.shut_down(timeout)
            now = monotonic()
            # Handlers that wait for the network have some time left to end then.
            self.acceptor.stop(now + timeout * _PATIENCE, now + timeout)
            _logger.info("the server stops; WebSocket connections to close: %d", websockets)

    def is_stopping(self) -> bool:
        """Say whether `stop` has been called."""
        return self._stopping.locked()

    def has_current_thread(self) -> bool:
        """Say whether this run has to wait for the thread that asks."""
        threads = (self.acceptor, *self._pool.workers)
        return threading.current_thread() in threads or self._manager_run.has_current_thread()

    def wait(self, timeout: float) -> bool:
        """Wait until all threads have ended, at most `timeout` seconds; say whether they have."""
        # Another thread may still be starting them, and what has not been cannot be joined.
        if not self._started.wait(timeout):
            return False
        if self.acceptor.ident is not None:
            self.acceptor.join(timeout)
        return not self.acceptor.is_alive()

    def before_fork(self) -> None:
        """Stand still for a fork."""
        self.acceptor.before_fork()

    def after_fork(self) -> None:
        """Go on after it, in the parent."""
        self.acceptor.after_fork()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self.acceptor.forget_all()

    def _finish(self, until: float) -> None:
        """Wait for the other threads; called last on the acceptor's thread."""
        self.stop(max(0.0, until - monotonic()))
        workers = self._pool.end()
        for worker in workers:
            join(worker, until)
        self._manager_run.finish()  # no worker is left that could upgrade a connection
        is_over = self._manager_run.wait(until)
        stuck = [worker.name for worker in workers if worker.is_alive()]
        if not is_over:
            stuck.append(self._manager_run.name)
            self._manager_run.leave_behind()
        if stuck and not self._quiet:
            _logger.warning("the server stopped without waiting for: %s", ", ".join(stuck))
        self._on_end(self)


def _is_not_replaced() -> bool:
    return False
