"""What a manager counts."""

from __future__ import annotations

import dataclasses

__all__ = ["ManagerStats"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ManagerStats:
    """A snapshot of a manager's counters, exact up to the loop's last whole turn.

    All but ``connections`` count from the manager's construction and never go back.
    """

    connections: int
    """Connections that are open or closing now."""
    connections_total: int
    """Connections that were ever established."""
    messages_received: int
    """Whole text and binary messages that came."""
    messages_sent: int
    """Messages and pings that were queued, once for each receiver."""
    bytes_received: int
    """Bytes read from sockets, frame headers included."""
    bytes_sent: int
    """Bytes written to sockets, frame headers and the responses to handshakes included."""
