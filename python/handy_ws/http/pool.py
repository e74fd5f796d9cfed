"""The workers of one run of a server, and those who work in the place of others.

A worker waits for no client, with two exceptions: a response that belongs to its thread
(`BoundResponse`) and is made faster than the client takes it, and a request body that is read
faster than the client sends it (`BodyStream`). Such a worker is replaced: another
one is started for the time, so that there are always as many as the config says to serve
requests, and the one that has waited ends when its response is out.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws.http.worker import Worker

__all__ = ["WorkerPool"]


class WorkerPool:
    """The workers. What other threads may call is guarded by a lock.

    Attributes:
        workers: those that have not ended; the list is replaced and never changed.
    """

    def __init__(self, make: Callable[[int, WorkerPool], Worker], count: int, spare: int) -> None:
        """Make the workers; `start` starts them.

        Args:
            make: makes the worker with that number, for this pool.
            count: how many there are.
            spare: how many more there may be in the place of those that wait for clients.
        """
        self._make = make
        self._lock = threading.Lock()
        self._made = count
        self._spare = spare
        self._leaving: list[Worker] = []
        self._done_by_gone = 0
        self._ended = False
        self.workers = [make(number, self) for number in range(1, count + 1)]

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the system has no more threads to give; some may have started.
        """
        for worker in self.workers:
            worker.start()

    def done(self) -> int:
        """Return how many pieces of work have been finished."""
        with self._lock:
            return self._done_by_gone + sum(worker.done for worker in self.workers)

    def replace(self) -> bool:
        """Start a worker in the place of the calling one; say whether there is another one now."""
        with self._lock:
            if self._ended or not self._spare:
                return False
            worker = self._make(self._made + 1, self)
            try:
                worker.start()
            except RuntimeError:  # the system has no more threads
                return False
            self._made += 1
            self._spare -= 1
            self.workers = [*self.workers, worker]
            return True

    def leave(self, worker: Worker) -> None:
        """Note that a worker that was replaced ends."""
        with self._lock:
            self._spare += 1
            self._done_by_gone += worker.done
            self.workers = [other for other in self.workers if other is not worker]
            self._leaving = [*(gone for gone in self._leaving if gone.is_alive()), worker]

    def end(self) -> list[Worker]:
        """Replace nobody any more; return all workers whose threads may not have ended."""
        with self._lock:
            self._ended = True
            return [*self.workers, *self._leaving]
