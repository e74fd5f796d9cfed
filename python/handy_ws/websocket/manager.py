"""`WebSocketManager`: all the connections of a server, as programs see them.

The core (Rust, `handy_ws._core`) has the connections and the loop; `manager_run.py` has its thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handy_ws._core import WebSocketManager as Core
from handy_ws.config import WebSocketConfig
from handy_ws.websocket.manager_run import ManagerRun

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from handy_ws._core import WebSocketConnection
    from handy_ws.websocket.enums import SendResult
    from handy_ws.websocket.stats import ManagerStats

__all__ = ["WebSocketManager"]


class WebSocketManager:
    """All the WebSocket connections of a server (handy-httpd's ``WebSocketManager``).

    There from the server's construction on; its thread runs while the server does. A manager is
    true, also while it has no connections.

    Attributes:
        core: the compiled part, for the server.
    """

    __slots__ = ("__weakref__", "core")

    def __init__(self, config: WebSocketConfig | None = None) -> None:
        """Make a manager.

        Args:
            config: the settings; ``WebSocketConfig()`` by default.

        Raises:
            TypeError: it is no ``WebSocketConfig``.
        """
        if config is None:
            config = WebSocketConfig()
        elif not isinstance(config, WebSocketConfig):
            raise TypeError(f"config must be a WebSocketConfig, not {type(config).__name__}")
        self.core = Core(config)

    def broadcast(
        self,
        message: str | Buffer,
        *,
        exclude: WebSocketConnection | None = None,
        compress: bool = True,
    ) -> SendResult:
        """Send a message to every open connection (handy-httpd's ``broadcast``).

        Any thread may call this, also in a callback; it never blocks. The message is compressed
        once for all connections that have agreed on the same compression.

        Args:
            message: a ``str`` goes out as text, a bytes-like object as binary.
            exclude: a connection that does not get it.
            compress: False sends it as it is.

        Returns:
            ``SendResult.QUEUED``, ``BACKPRESSURE`` (queued, and more than half of
            ``broadcast_queue_limit`` waits for the loop) or ``DROPPED`` (over that limit: nobody
            gets it). Whether each connection gets what is queued is up to its own queue and
            ``slow_consumer``. While no loop runs nobody is there who could miss it, and so it is
            ``QUEUED``.

        Raises:
            TypeError: the message is neither.
            RuntimeError: this is a forked child, and the connections are its parent's.
        """
        return self.core.broadcast(message, exclude=exclude, compress=compress)

    @property
    def connections(self) -> list[WebSocketConnection]:
        """Those between ``on_connection_established`` and ``on_connection_closed``: a new list."""
        return self.core.connections

    def stats(self) -> ManagerStats:
        """Return what the manager has counted."""
        return self.core.stats()

    def __len__(self) -> int:
        return len(self.core)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self.core)

    # For the server

    def open_for_server(self) -> ManagerRun:
        """Make ready to adopt sockets, for a run of the server.

        Raises:
            RuntimeError: the manager runs already.
            OSError: the system has no more descriptors or threads to give.
        """
        return ManagerRun(self.core)
