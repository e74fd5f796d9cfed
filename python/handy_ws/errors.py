"""The exceptions of handy_ws: one root, so that one ``except`` catches them all.

They tell faults apart by whose they are. A caller that sends on a closed connection gets
`ConnectionClosed`. A peer that breaks the protocol is not an exception of the program at all:
its connection is closed with the code that RFC 6455 section 7.4 names for it, or its HTTP request
is answered with a 4xx status. Wrong arguments raise `TypeError` and `ValueError`, as everywhere
in Python.
"""

from __future__ import annotations

__all__ = ["ConnectionClosed", "WebSocketError"]


class WebSocketError(Exception):
    """The root of all exceptions that handy_ws defines."""


class ConnectionClosed(WebSocketError):  # noqa: N818 - the name is part of the API
    """The WebSocket connection is closed or closing, so nothing more can be sent on it.

    Attributes:
        code: the close code of RFC 6455 section 7.4, or ``None`` where none is known yet.
        reason: the reason that went with it, perhaps empty.
    """

    def __init__(
        self,
        message: str = "the connection is closed",
        code: int | None = None,
        reason: str = "",
    ) -> None:
        """Make one.

        Args:
            message: what ``str()`` of the exception says.
            code: the close code, if known.
            reason: the close reason.
        """
        super().__init__(message)
        self.code = code
        self.reason = reason
