"""The access log: a record for each request that is answered, on the logger ``handy_ws.access``.

The message of a record is a line in the Common Log Format of the first web servers, and its parts
are attributes of the record, so that a formatter can put them together in another way::

    logging.Formatter('%(message)s "%(referer)s" "%(user_agent)s" %(duration).6f')

Nothing is made for a request unless somebody wants to know: the acceptor asks the logger once for
all requests that it passes on at a time, and gives each an `AccessEntry` then. A worker makes the
record of it when the response is out. So handlers of the logger run on workers, never on the
acceptor, and however slow they are they delay no response that is under way.

What clients have written is escaped, as it is in Apache's logs: a quote, a backslash, and all that
is not printable ASCII. So a record is one line, and nothing in it can be taken for another field.
"""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from werkzeug.datastructures import Authorization

if TYPE_CHECKING:
    from handy_ws.http.head import RequestHead

__all__ = ["AccessEntry", "is_wanted"]

_logger = logging.getLogger("handy_ws")
_access = logging.getLogger("handy_ws.access")

#: Client, identity (which nobody knows), user, time, request line, status, bytes of the body.
_COMMON_LOG_FORMAT: Final = '%s - %s [%s] "%s" %d %s'
_MISSING: Final = "-"
_UNSAFE = re.compile(r'["\\]|[^ -~]')
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
#: Of a request that is not understood, so much of its first line is told, in bytes.
_MAX_LINE: Final = 1024


def is_wanted() -> bool:
    """Say whether anybody wants records."""
    return _access.isEnabledFor(logging.INFO)


class AccessEntry:
    """What is to be told of one request, from the moment that it can be handled.

    Attributes:
        began: when that was, by the monotonic clock.
        time: the same, in seconds since the epoch.
    """

    __slots__ = ("_address", "_head", "_line", "began", "time")

    def __init__(self) -> None:
        """Begin now."""
        self.began = monotonic()
        self.time = time.time()
        self._address: tuple[str, int] = ("", 0)
        self._head: RequestHead | None = None
        self._line = b""

    def describe(self, address: tuple[str, int], head: RequestHead | None, raw: bytes) -> None:
        """Say whose request it is, and what it says.

        Args:
            address: host and port of the client.
            head: its head; None if it was not understood.
            raw: what has come of it then.
        """
        self._address = address
        self._head = head
        self._line = raw[:_MAX_LINE].partition(b"\r\n")[0] if head is None else b""

    def write(self, status: int, bytes_sent: int, *, upgraded: bool = False) -> None:
        """Make the record. Never raises.

        Args:
            status: the status of the response.
            bytes_sent: what has been sent of its body.
            upgraded: whether the connection speaks another protocol now.
        """
        try:
            _access.handle(self._record(status, bytes_sent, upgraded))
        except Exception:
            _logger.exception("a request cannot be logged")

    def _record(self, status: int, bytes_sent: int, upgraded: bool) -> logging.LogRecord:  # noqa: FBT001
        extra: dict[str, Any] = {
            "client_address": _escape(self._address[0] or _MISSING),
            "client_port": self._address[1],
            **self._request(),
            "status": status,
            "bytes_sent": bytes_sent,
            "duration": monotonic() - self.began,
            "upgraded": upgraded,
        }
        parts = (
            extra["client_address"],
            extra["user"],
            _clock(int(self.time)),
            extra["request_line"],
            status,
            bytes_sent or _MISSING,
        )
        # What Logger.info() does, without looking for who has called it.
        return _access.makeRecord(
            _access.name, logging.INFO, __file__, 0, _COMMON_LOG_FORMAT, parts, None, extra=extra
        )

    def _request(self) -> dict[str, str]:
        """Return what is known of the request itself, "-" for what is not."""
        head = self._head
        if head is None:
            names = ("user", "method", "target", "protocol", "referer", "user_agent")
            line = _escape(self._line.decode("latin-1")) or _MISSING
            return {**dict.fromkeys(names, _MISSING), "request_line": line}
        method, target, protocol = head.method, _escape(head.target), f"HTTP/{head.version}"
        return {
            "user": _escape(_user(head.get("authorization"))).replace(" ", r"\x20"),
            "method": method,
            "target": target,
            "protocol": protocol,
            "request_line": f"{method} {target} {protocol}",
            "referer": _escape(head.get("referer") or _MISSING),
            "user_agent": _escape(head.get("user-agent") or _MISSING),
        }


def _user(authorization: str | None) -> str:
    """Return the name that a client gives itself by the scheme Basic: RFC 7617."""
    if authorization is None:
        return _MISSING
    credentials = Authorization.from_header(authorization)
    if credentials is None or credentials.type != "basic":
        return _MISSING
    return credentials.username or _MISSING


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\x{code:02x}" if code < 1 << 8 else f"\\U{code:08x}"


@lru_cache(maxsize=8)
def _clock(seconds: int) -> str:
    """Return a time in the form of the log format, whatever the locale calls the months."""
    at = time.localtime(seconds)
    month = _MONTHS[3 * at.tm_mon - 3 : 3 * at.tm_mon]
    return time.strftime(f"%d/{month}/%Y:%H:%M:%S %z", at)
