"""The threads that run handlers.

A worker takes a connection from the queue when there is something to compute for it: a request
head to parse, a handler to run, a response to go on with (`service.py`). It does not wait for the
network, so a pool of any size serves any number of slow clients. Whoever has to wait for a client
nevertheless is replaced meanwhile (`pool.py`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from handy_ws.http.acceptor import Acceptor
    from handy_ws.http.connection import Connection
    from handy_ws.http.pool import WorkerPool
    from handy_ws.http.service import Service

__all__ = ["Worker"]


class Worker(threading.Thread):
    """One worker thread.

    Attributes:
        done: how many pieces of work it has finished; only ever grows.
    """

    def __init__(
        self,
        number: int,
        acceptor: Acceptor,
        make_service: Callable[[Callable[[], bool]], Service],
        *,
        pool: WorkerPool,
    ) -> None:
        """Make the thread; `start` starts it.

        Args:
            number: for the name of the thread.
            acceptor: where the work comes from.
            make_service: makes what the worker serves with, of a function that has it replaced.
            pool: the workers that it is one of.
        """
        super().__init__(name=f"handy-ws-http-{number}", daemon=True)
        self.done = 0
        self._acceptor = acceptor
        self._service = make_service(self._be_replaced)
        self._pool = pool
        self._is_replaced = False
        self._work: SimpleQueue[Connection | None] = acceptor.work

    @property
    def connection(self) -> Connection | None:
        """What it works on."""
        return self._service.connection

    def run(self) -> None:
        """Work until the queue says None, or another one works in the place of this worker."""
        get, serve = self._work.get, self._service.serve
        while not self._is_replaced and (connection := get()) is not None:
            serve(connection)
            self.done += 1
            if self._is_replaced:
                self._pool.leave(self)
            if self._acceptor.stopping:
                self._acceptor.wake()

    def cut_off(self) -> None:
        """End a response that belongs to this thread; the acceptor calls this when it is over."""
        self._service.cut_off()

    def _be_replaced(self) -> bool:
        """Have another worker work in the place of this one, which waits; say whether one does."""
        if not self._is_replaced:
            self._is_replaced = self._pool.replace()
        return self._is_replaced
