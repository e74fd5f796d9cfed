"""When the system has nothing more to give: no descriptors, no memory for sockets, no disk.

A shortage is not the fault of the request that meets it, and passes. So it is answered with 503,
and it is logged once, however many requests meet it.
"""

from __future__ import annotations

import errno
import logging
import threading
from math import inf
from time import monotonic
from typing import Final

__all__ = ["ShortageLog", "is_shortage"]

_logger = logging.getLogger("handy_ws")

_SHORTAGES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
#: So long nothing may have failed before the next failure is news again, in seconds: a server at
#: its limit has a descriptor now and then.
_CALM: Final = 60.0


def is_shortage(error: OSError) -> bool:
    """Say whether it is the system that is out of something, and not what was asked for."""
    return error.errno in _SHORTAGES


class ShortageLog:
    """Logs what fails for want of resources, once for each time that this is so. Thread-safe."""

    def __init__(self, message: str) -> None:
        """Make a log of one kind of failure; `message` has a ``%s`` for the reason."""
        self._message = message
        self._lock = threading.Lock()
        self._last = -inf

    def failed(self, error: OSError) -> None:
        """Note that it has failed again."""
        now = monotonic()
        with self._lock:
            is_news = now - self._last > _CALM
            self._last = now
        if is_news:
            _logger.warning(self._message, error.strerror)
