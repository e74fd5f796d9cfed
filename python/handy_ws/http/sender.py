"""How a worker sends: what the client takes now or, if a response belongs to the worker, all of it.

A response of the first kind is given up as soon as the socket is full, and any thread may go on
with it. One of the second kind (`BoundResponse`) is waited for by the thread that makes its parts.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

from handy_ws.http.outgoing import PeerGone
from handy_ws.http.pace import Pace, period_of
from handy_ws.http.poller import wait_for_room
from handy_ws.http.stream import break_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws.config import ServerConfig
    from handy_ws.http.acceptor import Acceptor
    from handy_ws.http.outgoing import Outgoing
    from handy_ws.http.stream import Stream

__all__ = ["Sender"]

#: How long a worker waits for a client before another one works in its place, in seconds. A client
#: that reads on is waited for time and again, and only briefly.
_PATIENCE: Final = 0.1


class Sender:
    """Sends the responses of one worker."""

    def __init__(
        self, acceptor: Acceptor, config: ServerConfig, *, on_long_wait: Callable[[], bool]
    ) -> None:
        """Make the sender.

        Args:
            acceptor: says when the server has stopped.
            config: how fast clients have to be.
            on_long_wait: called while a client is waited for, until it says that another worker
                works in the place of this one.
        """
        self._acceptor = acceptor
        self._config = config
        self._on_long_wait = on_long_wait
        self._is_replaced = False
        self._period = period_of(config)
        self._streams_to: Stream | None = None
        self._lock = threading.Lock()

    def cut_off(self) -> None:
        """End the response that is waited for, if there is one. Any thread may call this."""
        with self._lock:
            if self._streams_to is not None:
                break_off(self._streams_to)

    def send(self, sock: Stream, outgoing: Outgoing) -> bool:
        """Send what the client takes; say whether that is all. If not, any thread may go on."""
        if not outgoing.is_bound:
            return outgoing.pump(sock)
        with self._lock:
            self._streams_to = sock
        try:
            until_look = self._period
            while not outgoing.pump(sock):
                if not outgoing.is_bound:
                    return False
                until_look = self._wait_for_room(sock, outgoing, until_look)
            return True
        finally:
            with self._lock:
                self._streams_to = None

    def _wait_for_room(self, sock: Stream, outgoing: Outgoing, until_look: float) -> float:
        """Wait until the client has taken something.

        Args:
            sock: its stream, which is full.
            outgoing: the response.
            until_look: after how many seconds of waiting to look how it keeps up.

        Returns:
            The same for the next wait. How long the parts take to be made is not its fault.

        Raises:
            PeerGone: it takes the response too slowly, or the server has stopped.
        """
        if outgoing.pace is None:
            outgoing.pace = Pace.of_response(self._config)
        while not self._acceptor.finished:
            begun = monotonic()
            patience = self._period if self._is_replaced else _PATIENCE
            has_room = wait_for_room(sock, min(patience, until_look))
            until_look -= monotonic() - begun
            if until_look <= 0:
                if not outgoing.pace.keeps_up(outgoing.delivered(sock)):
                    raise PeerGone
                until_look = self._period
            if has_room:
                return until_look
            self._is_replaced = self._on_long_wait()
        raise PeerGone
