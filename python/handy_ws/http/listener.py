"""The listening socket: opening it, and accepting from it at the least cost.

It is a TCP socket, a unix socket, or one of either kind that this process has inherited, from
systemd for example. On Linux an accepted socket inherits TCP_NODELAY from the listening one, which
saves a system call a connection; elsewhere it is set on each.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from handy_ws.http.stream import PlainStream
from handy_ws.http.unix_socket import SocketFile

if TYPE_CHECKING:
    from typing import Self

    from handy_ws.config import ServerConfig

__all__ = ["Listener", "checked_descriptor", "host_and_port", "local_address"]

SocketT = TypeVar("SocketT", bound=socket.socket)

_NODELAY_IS_INHERITED: Final = sys.platform == "linux"
#: What an IPv4 address begins with to a socket for both (RFC 4291 section 2.5.5.2).
_MAPPED: Final = "::ffff:"
_NO_ADDRESS: Final = ("", 0)
_UNIX_SERVER: Final = ("localhost", 80)
#: The first descriptor that systemd passes (sd_listen_fds(3)).
_FIRST_FROM_SYSTEMD: Final = 3
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class Listener(socket.socket):
    """A nonblocking listening socket."""

    @classmethod
    def open(cls, config: ServerConfig) -> Self:
        """Bind and listen as `config` says.

        Raises:
            OSError: the host is unknown, or the address is taken or forbidden, or the inherited
                descriptor is not a listening socket any more.
        """
        try:
            if config.fd is not None:
                where = f"descriptor {config.fd}"
                return cls._inherit(int(config.fd))
            if config.unix_socket is not None:
                where = str(config.unix_socket)
                return cls._open_unix(config, Path(where))
            where = f"{config.host} port {config.port}"
            return cls._open_tcp(config)
        except OSError as error:
            msg = f"cannot listen on {where}: {error.strerror}"
            raise type(error)(error.errno, msg) from error

    @classmethod
    def _open_tcp(cls, config: ServerConfig) -> Self:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = cls(family, kind, protocol)
        try:
            # A restarted server must not wait for the connections of its predecessor to expire.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if config.reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # `::` is every address, of IPv4 too, whatever the system's default is.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(config.backlog)
            listener._prepare()
        except OSError:
            listener.close()
            raise
        return listener

    @classmethod
    def _open_unix(cls, config: ServerConfig, path: Path) -> Self:
        listener = cls(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener._file = SocketFile.listen(
                listener, path, config.unix_socket_mode, config.backlog
            )
            listener._prepare()
        except OSError:
            listener.stop()
            raise
        return listener

    @classmethod
    def _inherit(cls, descriptor: int) -> Self:
        # A copy, so that the socket goes on to listen when this server has stopped, and another
        # run of it finds it again.
        listener = _listening_copy(cls, descriptor)
        try:
            listener._prepare()  # noqa: SLF001 - of this class
        except OSError:
            listener.close()
            raise
        return listener

    _is_tcp: bool
    _family: int
    _file: SocketFile | None = None

    def _prepare(self) -> None:
        self.setblocking(False)
        self._family = int(self.family)
        self._is_tcp = self.family != socket.AF_UNIX
        if self._is_tcp:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def address(self) -> tuple[str, int] | str:
        """Host and port that the socket is bound to, or the path of a unix socket."""
        name = self.getsockname()
        if self._is_tcp:
            host, port = name[:2]
            return host, port
        # An abstract one (unix(7)) has a name instead of a path, written with an @ as a rule.
        return name if isinstance(name, str) else "@" + os.fsdecode(name[1:])

    def stop(self) -> None:
        """Close it, and remove the file of a unix socket that was made here."""
        file, self._file = self._file, None
        if file is not None:
            file.remove()
        self.close()

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return not self._is_tcp

    def accept_connection(self) -> tuple[PlainStream, tuple[str, int]]:
        """Accept one connection.

        Returns:
            The stream, with TCP_NODELAY, and the client's `host_and_port`.

        Raises:
            BlockingIOError: no connection is waiting.
            OSError: for all that accept(2) names; ECONNABORTED means to try again.
        """
        # What accept() does, without asking the system for what the listener knows: 5 us, not 7.
        descriptor, address = cast("Any", self)._accept()  # noqa: SLF001
        sock = PlainStream(self._family, socket.SOCK_STREAM, 0, descriptor)
        sock.setblocking(False)
        if self._is_tcp and not _NODELAY_IS_INHERITED:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, host_and_port(address)


def host_and_port(name: Any) -> tuple[str, int]:
    """Return host and port of what a socket says about itself or its peer.

    An IPv4 client has an IPv4 address, also where the listening socket is one for both. A client
    of a unix socket has no address: the host is empty then, and the port 0.
    """
    if not isinstance(name, tuple):
        return _NO_ADDRESS
    host, port = name[:2]
    return host.removeprefix(_MAPPED) if "." in host else host, port


def local_address(address: tuple[str, int] | str) -> tuple[str, int]:
    """Return the host and port that requests are told to have come to, of `Listener.address`.

    A unix socket has neither, but PEP 3333 wants them.
    """
    return _UNIX_SERVER if isinstance(address, str) else address


def checked_descriptor(value: Any) -> int:
    """Return the descriptor that the value of `ServerConfig.fd` stands for, if it is one.

    Raises:
        ValueError: what it must be.
    """
    if value == "systemd":
        value = _descriptor_from_systemd()
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("must be a descriptor or 'systemd'")
    try:
        _listening_copy(socket.socket, value).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", error)
        msg = f"must be a listening socket, TCP or unix ({reason})"
        raise ValueError(msg) from None
    return value


def _listening_copy(kind: type[SocketT], descriptor: int) -> SocketT:
    """Return a socket that listens where that descriptor does.

    Raises:
        OSError: it is none that listens, TCP or unix.
    """
    copy = os.dup(descriptor)
    try:
        sock = kind(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    try:
        _check_listening(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _check_listening(sock: socket.socket) -> None:
    if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM:
        raise OSError(errno.EPROTOTYPE, "it is neither a TCP nor a unix stream socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, "it does not listen")


def _descriptor_from_systemd() -> int:
    """Return the one socket that systemd has passed to this process, as sd_listen_fds(3) does."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise ValueError("needs a socket, and systemd has passed none (LISTEN_PID)")
    count = os.environ.get("LISTEN_FDS")
    if count != "1":
        msg = f"needs one socket, and systemd has passed {count or 'none'} (LISTEN_FDS)"
        raise ValueError(msg)
    with suppress(OSError):  # which says nothing that the check does not say
        os.set_inheritable(_FIRST_FROM_SYSTEMD, False)
    return _FIRST_FROM_SYSTEMD
