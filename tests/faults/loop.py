"""A loop for many clients in one process: a task is a generator that yields what it waits for.

Two thousand threads would measure themselves, and a client that is to dribble, stall, or reset in
the middle of a frame wants the bare socket. So a task yields a `Wait`: for anything to happen on
a stream, for a moment, or for whichever comes first; it is resumed with whether something happened.

Sockets are registered once, edge-triggered, for both directions: one that its task does not read
costs nothing. An edge that comes while the task waits for something else is forgotten, so an
operation always tries first and waits only when the kernel has said that it must.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.stream import Stream

T = TypeVar("T")

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Wait(NamedTuple):
    """What a task waits for: an event of the stream, the moment, or the first of the two."""

    stream: Stream | None
    until: float


Task = Generator[Wait, bool, T]


class _Runner:
    """A task, and when the loop is to look at it."""

    __slots__ = ("armed", "fd", "task", "until")

    def __init__(self, task: Task[None]) -> None:
        self.task = task
        self.fd: int | None = None
        self.until = math.inf
        #: When its entry of the heap is due. An entry that comes too early is put off then: most
        #: waits end long before their deadline, and so most of them do not touch the heap.
        self.armed = math.inf


class Loop:
    """Runs tasks until there are none."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Runner] = {}  # by file descriptor
        self._new: list[Task[None]] = []
        self._timers: list[tuple[float, int, _Runner]] = []
        self._numbers = itertools.count()
        self.tasks = 0

    def spawn(self, task: Task[None]) -> None:
        """Let a task begin at the next turn."""
        self.tasks += 1
        self._new.append(task)

    def run(self, *, until: Callable[[], bool] = bool) -> None:
        """Run until there are no tasks, or until `until` returns true, which is asked every turn.

        What a task raises, this raises.
        """
        while self.tasks and not until():
            new, self._new = self._new, []
            for task in new:
                self._go_on(_Runner(task))
            for fd, _ in self._epoll.poll(self._patience(), 512):
                runner = self._waiting.pop(fd, None)
                if runner is not None:
                    self._go_on(runner, happened=True)
            self._expire()

    def watch(self, fd: int) -> None:
        """Watch a socket from now on."""
        self._epoll.register(fd, _EVENTS)

    def forget(self, fd: int) -> None:
        """Watch a socket no more; it is about to be closed."""
        self._epoll.unregister(fd)
        self._waiting.pop(fd, None)

    def _patience(self) -> float:
        if self._new or not self.tasks:
            return 0.0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else 1.0

    def _go_on(self, runner: _Runner, *, happened: bool | None = None) -> None:
        try:
            wait = runner.task.send(happened)  # type: ignore[arg-type] # None starts it
        except StopIteration:
            self.tasks -= 1
            runner.until = math.inf
            return
        runner.until = wait.until
        runner.fd = None
        if wait.stream is not None:
            runner.fd = wait.stream.fd
            self._waiting[runner.fd] = runner
        if wait.until < runner.armed:
            self._arm(runner)

    def _arm(self, runner: _Runner) -> None:
        runner.armed = runner.until
        heapq.heappush(self._timers, (runner.until, next(self._numbers), runner))

    def _expire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, runner = heapq.heappop(self._timers)
            if due != runner.armed:
                continue  # another entry has taken its place
            runner.armed = math.inf
            if runner.until <= now:
                if runner.fd is not None:
                    self._waiting.pop(runner.fd, None)
                self._go_on(runner, happened=False)
            elif runner.until < math.inf:
                self._arm(runner)
