"""The base class of all message handlers.

Every callback does nothing until a subclass overrides it, and one that is not overridden costs
nothing: the core does not even make its message object. All callbacks of all connections run on
the one manager thread, one after the other, so they need no locks among themselves; work that
takes long belongs on another thread, which may send by the connection when it is done. Or a
``WebSocketHandler`` has them run on an executor; then those of one connection are one after the
other, and those of different connections run at the same time.

For each connection ``on_connection_established`` comes first and ``on_connection_closed`` last,
each exactly once. An exception in a callback ends that connection with 1011, is logged with its
traceback on the logger ``handy_ws``, and goes to ``on_error``; nothing else notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handy_ws._core import (
        WebSocketBinaryMessage,
        WebSocketCloseMessage,
        WebSocketConnection,
        WebSocketTextMessage,
    )

__all__ = ["WebSocketMessageHandler"]


class WebSocketMessageHandler:
    """Override what you need (handy-httpd's ``WebSocketMessageHandler``).

    The callbacks are looked up once, when a ``WebSocketHandler`` is made of the handler.
    """

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        """Say hello: the connection can be sent to, and no message of it came before.

        What is sent here reaches the client before whatever happens after it has seen the 101.
        """

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Take a text message: ``message.payload`` is a ``str``."""

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Take a binary message: ``message.payload`` is ``bytes``."""

    def on_close_message(self, message: WebSocketCloseMessage) -> None:
        """Note that the peer sent a CLOSE frame, with ``message.code`` and ``message.reason``.

        If the peer was the first to close, the connection is still open and a last message still
        goes out, before the answering CLOSE (RFC 6455 section 5.5.1).
        """

    def on_drain(self, connection: WebSocketConnection) -> None:
        """Go on sending: a queue that was more than half full is empty again.

        Whoever has got ``SendResult.BACKPRESSURE`` or ``DROPPED`` can rely on it, unless the
        connection is closed before. It comes once each time.
        """

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Say goodbye: the last callback of the connection, whatever ended it.

        ``connection.close_code``, ``.close_reason`` and ``.close_cause`` are set.
        """

    def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
        """Note that a callback of this handler raised.

        The exception has been logged with its traceback, and the connection is being closed with
        1011 (RFC 6455 section 7.4.1).
        """
