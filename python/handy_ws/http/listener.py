"""The listening socket: opening it, and accepting from it at the least cost.

On Linux an accepted socket inherits TCP_NODELAY from the listening one, which saves a system call
a connection; elsewhere it is set on each.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from handy_ws.http.stream import PlainStream

if TYPE_CHECKING:
    from typing import Self

    from handy_ws.config import ServerConfig

__all__ = ["Listener"]

_NODELAY_IS_INHERITED: Final = sys.platform == "linux"


class Listener(socket.socket):
    """A nonblocking listening TCP socket."""

    @classmethod
    def open(cls, config: ServerConfig) -> Self:
        """Bind and listen as `config` says.

        Raises:
            OSError: the host is unknown, or the address is taken or forbidden.
        """
        try:
            return cls._open(config)
        except OSError as error:
            msg = f"cannot listen on {config.host} port {config.port}: {error.strerror}"
            raise type(error)(error.errno, msg) from error

    @classmethod
    def _open(cls, config: ServerConfig) -> Self:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = cls(family, kind, protocol)
        try:
            # A restarted server must not wait for the connections of its predecessor to expire.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.listen(config.backlog)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        listener._family = int(family)
        return listener

    _family: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the socket is bound to."""
        host, port = self.getsockname()[:2]
        return host, port

    def accept_connection(self) -> tuple[PlainStream, tuple[str, int]]:
        """Accept one connection.

        Returns:
            The stream, with TCP_NODELAY, and the client's host and port.

        Raises:
            BlockingIOError: no connection is waiting.
            OSError: for all that accept(2) names; ECONNABORTED means to try again.
        """
        # What accept() does, without asking the system for what the listener knows: 5 us, not 7.
        descriptor, address = cast("Any", self)._accept()  # noqa: SLF001
        sock = PlainStream(self._family, socket.SOCK_STREAM, 0, descriptor)
        sock.setblocking(False)
        if not _NODELAY_IS_INHERITED:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, address if len(address) == 2 else address[:2]  # noqa: PLR2004
