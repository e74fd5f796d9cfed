"""Close codes, what ended a connection, and what became of a message."""

from __future__ import annotations

import enum

__all__ = ["CloseCause", "CloseCode", "SendResult"]


class CloseCode(enum.IntEnum):
    """The close codes of RFC 6455 section 7.4.1 and its registry.

    Applications use 3000 to 4999 as plain numbers. ``NO_STATUS`` and ``ABNORMAL`` say that there
    was no code, or no CLOSE frame at all; they are never sent.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class CloseCause(enum.Enum):
    """Who or what ended a connection: ``connection.close_cause`` in ``on_connection_closed``."""

    PEER = "peer"
    """The peer sent the first CLOSE frame."""
    LOCAL = "local"
    """``connection.close()`` was called."""
    PROTOCOL_ERROR = "protocol error"
    """The peer broke the protocol, or a limit on what it may send."""
    SLOW_CONSUMER = "slow consumer"
    """The peer did not read: ``send_queue_limit`` was reached, or ``write_timeout`` was over."""
    HANDLER_ERROR = "handler error"
    """A callback raised."""
    SERVER_STOP = "server stop"
    """The server was stopped."""
    PING_TIMEOUT = "ping timeout"
    """Nothing came from the peer within ``ping_timeout`` of a PING."""
    IDLE_TIMEOUT = "idle timeout"
    """No message came from the peer within ``idle_timeout``."""
    NETWORK_ERROR = "network error"
    """The TCP connection ended without a CLOSE frame."""


class SendResult(enum.Enum):
    """What became of a message that was given to ``send_text``, its siblings or ``broadcast``.

    For one connection the limit is ``send_queue_limit``, and ``on_drain`` follows when the queue is
    empty again (or ``on_connection_closed``) unless the result is ``QUEUED``. For a broadcast it is
    ``broadcast_queue_limit``.
    """

    QUEUED = "queued"
    """It is on its way."""
    BACKPRESSURE = "backpressure"
    """It is on its way, and more than half of the limit waits to be sent."""
    DROPPED = "dropped"
    """The limit is reached and the message is lost.

    If ``slow_consumer`` is ``"close"``, the connection is being closed."""
