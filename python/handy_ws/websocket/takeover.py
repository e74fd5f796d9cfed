"""Taking a connection over from the WSGI server that has accepted it.

Servers that offer the socket in the environment do not offer to let go of it: when the view has
returned, they write a response, perhaps shut the connection down, and close the socket. A second
descriptor does not help against the first two, which concern the connection and not a descriptor.
So the server is left with something else: `dup2` puts the end of a socket pair in the place of the
connection, under the same number, in one step. Its other end is closed already. What the server
sees is a client that has hung up after its request, which it knows to deal with: clients do.

That also is how the bytes are found that the server has read behind the request head. It reads
from its buffer first and then from the socket, and that is at its end now: so what it reads is what
was in the buffer, and what is still in the kernel stays there for the manager.
"""

from __future__ import annotations

import os
import socket
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Copy", "Offer", "check_socket", "offer_in"]

_SUPPORTED: Final = (
    "the socket can be taken over from gunicorn (its gthread and sync workers) and from "
    "werkzeug's development server (which flask run starts)"
)


class Offer:
    """A socket in the environment of a request, not taken yet."""

    def __init__(self, sock: socket.socket, read_rest: Callable[[], bytes]) -> None:
        """Keep it.

        Args:
            sock: the server's.
            read_rest: returns what the server reads when it goes on; empty at the end.
        """
        self._socket = sock
        self._read_rest = read_rest

    def take(self) -> tuple[socket.socket, bytes]:
        """Take the connection; the server is left with one that has ended.

        Returns:
            A socket that belongs to the caller, and what came behind the request head.

        Raises:
            OSError: the system has no more descriptors to give, or the connection is closed.
                Nothing has changed.
        """
        sock = self._socket.dup()
        try:
            other, stand_in = socket.socketpair()
            other.close()
            with stand_in:
                os.dup2(stand_in.fileno(), self._socket.fileno(), inheritable=False)
        except BaseException:
            sock.close()
            raise
        parts = []
        while part := self._read_rest():
            parts.append(part)
        return sock, b"".join(parts)


class Copy:
    """A socket that the program itself has given."""

    def __init__(self, sock: socket.socket, received: bytes) -> None:
        """Keep it, and what came behind the request head."""
        self._socket = sock
        self._received = received

    def take(self) -> tuple[socket.socket, bytes]:
        """Return another socket for the same connection, and what came behind the request head.

        Raises:
            OSError: the system has no more descriptors to give, or the socket is closed.
        """
        return self._socket.dup(), self._received


def offer_in(environ: Mapping[str, Any]) -> Offer:
    """Find the socket that a server offers.

    Raises:
        RuntimeError: there is none, or it cannot be taken over; the message says why, and what can.
    """
    for name, rest_of in _SERVERS.items():
        sock = environ.get(f"{name}.socket")
        if sock is not None:
            check_socket(sock)
            read_rest = rest_of(environ.get("wsgi.input"))
            if read_rest is None:
                raise RuntimeError(
                    f"what {name} has read behind the request head cannot be got at: its "
                    "wsgi.input was replaced, or this version of it is not known"
                )
            return Offer(sock, read_rest)
    if "handy_ws.server" in environ:
        raise RuntimeError("beside an HttpServer, give the path to the WebSocketHandler itself")
    raise RuntimeError(f"this server does not offer the socket of the connection: {_SUPPORTED}")


def check_socket(sock: object) -> None:
    """Check that a socket can be adopted.

    Raises:
        TypeError: it is no socket.
        RuntimeError: it is a TLS session, or belongs to gevent or eventlet.
    """
    kind = type(sock)
    if not isinstance(sock, socket.socket):
        raise TypeError(f"a socket is needed, not {kind.__name__}")
    if kind.__module__ == "ssl":
        raise RuntimeError(
            "the connection is encrypted by Python's ssl module, and its session cannot be handed "
            "over: have TLS terminated by a proxy in front, or by an HttpServer"
        )
    if kind.__module__ != "socket":
        raise RuntimeError(
            f"the socket is one of {kind.__module__}, whose threads are none: {_SUPPORTED}"
        )


def _rest_of_gunicorn(body: Any) -> Callable[[], bytes] | None:
    # gunicorn.http.body.Body, whose reader ends with the body, and that is empty. Behind it is what
    # the parser reads from, and puts back what it does not need.
    read = getattr(getattr(getattr(body, "reader", None), "unreader", None), "read", None)
    return read if callable(read) else None


def _rest_of_werkzeug(rfile: Any) -> Callable[[], bytes] | None:
    return rfile.read if isinstance(rfile, BufferedReader) else None


_SERVERS: Final = {"gunicorn": _rest_of_gunicorn, "werkzeug": _rest_of_werkzeug}
