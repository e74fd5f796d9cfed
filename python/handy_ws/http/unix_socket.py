"""The file of a listening unix socket: its permissions, and whose it is.

Who may connect is a matter of the file's permissions, so they are set before the socket listens:
on Linux the file even begins its life with them. A server that was killed leaves its file behind,
and nobody can bind to the path until it is gone. Whether the file is such a leftover is found out
by connecting: where nobody listens, the system refuses. A file that is no socket, or one that
somebody listens on, is never touched.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from handy_ws.http.paths import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

__all__ = ["SocketFile", "checked_path"]

#: The longest path that fits into a ``sockaddr_un`` of Linux, in bytes; elsewhere it may be less.
_MAX_PATH_SIZE: Final = 107
#: How often, and at what intervals in seconds, to try to be alone.
_LOCK_ATTEMPTS: Final = 20
_LOCK_INTERVAL: Final = 0.05


class SocketFile:
    """The file that a listening unix socket is bound to."""

    def __init__(self, path: Path) -> None:
        """Remember the file that is at `path` now."""
        # Absolute, because the program may change its directory.
        self._path = path.absolute()
        self._identity = _identity(path.lstat())

    @classmethod
    def listen(cls, sock: socket.socket, path: Path, mode: int, backlog: int) -> Self:
        """Bind a new unix socket to `path`, with the permissions `mode`, and listen.

        Raises:
            OSError: EADDRINUSE if the path is taken; whatever bind(2) and listen(2) say.
        """
        with _alone_in(path.parent):
            # Linux makes the file with the permissions of the socket, less the umask. Other
            # systems refuse; there nobody can connect either before the socket listens.
            with suppress(OSError):
                os.fchmod(sock.fileno(), mode)
            try:
                sock.bind(str(path))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                _remove_leftover(path)
                sock.bind(str(path))
            file = cls(path)
            try:
                if stat.S_IMODE(path.lstat().st_mode) != mode:
                    path.chmod(mode)
                sock.listen(backlog)
            except OSError:
                file.remove()
                raise
        return file

    def remove(self) -> None:
        """Remove the file, unless another one has taken its place.

        This must be called before the socket is closed: until then nobody takes the file for a
        leftover, and no other file can have its number.
        """
        with suppress(OSError):
            if _identity(self._path.lstat()) == self._identity:
                self._path.unlink()


def checked_path(value: Any) -> str:
    """Return the path that is the value of `ServerConfig.unix_socket`, if it is one.

    Raises:
        ValueError: what it must be.
    """
    path = path_of(value)
    if path is None:
        raise ValueError("must be a path")
    if len(os.fsencode(path)) > _MAX_PATH_SIZE:
        msg = f"must be a path of at most {_MAX_PATH_SIZE} bytes (unix(7))"
        raise ValueError(msg)
    return path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _remove_leftover(path: Path) -> None:
    """Remove the socket of a server that is no more.

    Raises:
        OSError: EADDRINUSE if that is not what is there.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EADDRINUSE, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    except BlockingIOError:
        pass  # its backlog is full
    except PermissionError as error:
        raise OSError(errno.EADDRINUSE, "there is a socket of somebody else") from error
    raise OSError(errno.EADDRINUSE, "another server listens there")


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep other servers from taking for a leftover what is bound and does not listen yet.

    Whoever may read the directory can lock it for ever, so this is not waited for without end.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        # It is for binding to say what is wrong with it, if it is not only that it is secret.
        yield
        return
    try:
        for _ in range(_LOCK_ATTEMPTS):
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                break
            except OSError:
                sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)
