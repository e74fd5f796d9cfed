"""Tests run side by side, `pytest -n 2`, but for those that want the machine for themselves.

Most tests wait for something most of the time, so two workers take little more than half as long
as one. A test that measures times, or that loads the machine so much that whoever is beside it
would be late, is marked `alone`: while it runs, the other worker waits.

Workers are processes, hence locks of files. All share the room or one has it alone; who wants it
waits in the door, so that nobody who comes later can go first, for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until a test may run, and let no other run that must not while this one does.

    Args:
        folder: where the locks are, the same for all workers.
        alone: whether no other test may run meanwhile.
    """
    with _opened(folder / "door") as door, _opened(folder / "room") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Closing is not enough: a process that was forked meanwhile has the same lock.
            fcntl.flock(room, fcntl.LOCK_UN)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
