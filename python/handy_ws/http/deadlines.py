"""Deadlines of very many connections, at a constant cost each.

A connection that waits does so under one of a few fixed time limits. Under one limit, who came
first is also due first, so a queue in order of arrival is a sorted queue: adding at the end,
removing anywhere and looking at the front all take constant time, and nothing ever walks over the
connections that are not due. Ten thousand idle connections cost nothing until they expire.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

__all__ = ["Deadlines"]

T = TypeVar("T", bound="Hashable")
K = TypeVar("K", bound="Hashable")


class Deadlines(Generic[K, T]):
    """For each kind of wait, who waits and until when. Used by one thread."""

    def __init__(self, limits: Mapping[K, float]) -> None:
        """Make the queues.

        Args:
            limits: for each kind of wait its time limit, in seconds.
        """
        self._limits = dict(limits)
        # An OrderedDict finds its front at once; a dict first walks over what was deleted there.
        self._queues: dict[K, OrderedDict[T, float]] = {kind: OrderedDict() for kind in limits}

    def add(self, kind: K, waiter: T, now: float) -> None:
        """Start the time of `waiter`, or start it again."""
        queue = self._queues[kind]
        queue[waiter] = now + self._limits[kind]
        queue.move_to_end(waiter)

    def discard(self, kind: K, waiter: T) -> None:
        """Stop the time of `waiter`, if it runs; of other kinds than are known none does."""
        queue = self._queues.get(kind)
        if queue:
            queue.pop(waiter, None)

    def waiting(self, kind: K) -> list[T]:
        """Return all that wait for `kind`, the first due first."""
        return list(self._queues[kind])

    def all_waiting(self) -> list[T]:
        """Return all that wait."""
        return [waiter for queue in self._queues.values() for waiter in queue]

    def count(self, kind: K) -> int:
        """Return how many wait for `kind`."""
        return len(self._queues[kind])

    def next(self) -> float:
        """Return the time at which the first of all is due, or infinity when nobody waits."""
        return min((next(iter(q.values())) for q in self._queues.values() if q), default=inf)

    def expired(self, now: float) -> Iterator[T]:
        """Yield who is due. The caller discards each before asking for the next one."""
        for queue in self._queues.values():
            while queue:
                waiter, due = next(iter(queue.items()))
                if due > now:
                    break
                yield waiter
