"""How slow a client may be: a minimum rate, and the longest pause.

A deadline for the whole of a body cuts off honest clients with much to send and little bandwidth;
one for each bit of progress lets a byte every 29 seconds hold a connection for ever. So what
counts is the rate. A client is looked at once in every period. Bytes that have come, or were
taken, since the last look put it ahead by the time that they may take at the minimum rate; the
period itself puts it back. Whoever falls behind is too slow. Nobody can be further ahead than the
longest pause, so a fast beginning buys no endless end.

A look costs the same however much has come, and there is no work between two of them.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from handy_ws.config import ServerConfig

__all__ = ["Pace", "period_of"]


def period_of(config: ServerConfig) -> float:
    """Return the time between two looks, in seconds."""
    return min(config.rate_grace, config.body_timeout)


class Pace:
    """How one client keeps up, while it has to send or to take something."""

    __slots__ = ("_ahead", "_longest_pause", "_period", "_seconds_per_byte", "_seen")

    def __init__(self, minimum: float | None, longest_pause: float, period: float) -> None:
        """Make one for a client of which nothing is known yet.

        Args:
            minimum: the minimum rate, in bytes per second; None for no more than a byte now and
                then.
            longest_pause: how far the client can be ahead, in seconds.
            period: the time between two looks, in seconds.
        """
        self._seconds_per_byte = inf if minimum is None else 1 / minimum
        self._longest_pause = longest_pause
        self._period = period
        self._ahead = longest_pause if minimum is None else 0.0
        self._seen = 0

    @classmethod
    def of_body(cls, config: ServerConfig) -> Self:
        """Make one for a request body that begins to come."""
        return cls(config.min_body_rate, config.body_timeout, period_of(config))

    @classmethod
    def of_response(cls, config: ServerConfig) -> Self:
        """Make one for a response that waits for the client for the first time."""
        return cls(config.min_send_rate, config.body_timeout, period_of(config))

    def keeps_up(self, total: int) -> bool:
        """Look at the client, a period after the last look, and say whether it is fast enough.

        Args:
            total: how many bytes have come, or were taken, in all.
        """
        gained = total - self._seen
        if gained > 0:
            self._seen = total
            ahead = self._ahead + gained * self._seconds_per_byte
            self._ahead = min(ahead, self._longest_pause)
        self._ahead -= self._period
        return self._ahead >= 0
