"""What a manager counts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ManagerStats"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ManagerStats:
    """A snapshot of a manager's counters, exact up to the loop's last whole turn.

    All but ``connections`` and ``queue_bytes`` count from the manager's construction. Times are in
    seconds.
    """

    connections: int
    """Connections that are open or closing now."""
    connections_total: int
    """Connections that were ever established."""
    connections_refused: Mapping[str, int] = dataclasses.field(hash=False)
    """Handshakes that did not become a connection, by what refused them: a limit, by the name of
    its field (``max_connections``, ``max_connections_per_address``, ``max_pending_handshakes``);
    ``handshake``, what is no valid handshake (400, 405, 426); ``origin`` (403); ``authorize``,
    which has returned a response or raised."""
    messages_received: int
    """Whole text and binary messages that came."""
    messages_sent: int
    """Text and binary messages that were queued, once for each receiver, without those that were
    dropped later: what has been, or still waits to be, handed to the system."""
    bytes_received: int
    """Bytes read from sockets, frame headers included."""
    bytes_sent: int
    """Bytes written to sockets, frame headers and the responses to handshakes included."""
    messages_dropped: int
    """Text and binary messages that their receivers do not get, once for each: they did not fit
    into a queue, or had to leave one, or the connection ended before they had gone out."""
    bytes_dropped: int
    """The bytes of these messages, frame headers included."""
    broadcasts_dropped: int
    """Broadcasts that nobody gets because of ``broadcast_queue_limit``; not in the two above."""
    queue_bytes: int
    """Bytes that wait now to be sent, for all connections."""
    gil_wait_total: float
    """Time that the manager thread has waited for the interpreter's lock."""
    gil_wait_max: float
    """The longest of these waits."""
    callback_time_total: float
    """Time that callbacks have taken on the manager thread."""
    callback_time_max: float
    """The longest time that the callbacks of one turn have taken together."""
    slow_callbacks: int
    """Callbacks that took longer than ``slow_callback_warning``."""
    takeovers: int
    """Times that the stand-in drove the loop because callbacks, or the wait for the interpreter,
    took long."""
    turns: int
    """Times that the loop has looked for something to do."""
