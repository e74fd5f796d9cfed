"""Request heads: finding the end of one, and reading it strictly.

A head is the request line and the header fields, up to the first empty line (RFC 9112 section 2).
The acceptor needs to know where it ends, and `find_head_end` tells it in linear time however the
bytes were cut up. A worker then reads the whole head, once, with `parse_head`: httptools (Node's
llhttp) knows the grammar, and what it is lenient about is checked here.

Reading is strict, because whatever two programs read differently can be used to smuggle a request
past one of them: no bare CR or LF, no folded lines, no space before the colon, no control
characters, no field twice that frames the message. Bytes 0x80 to 0xFF in values are taken as
latin-1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from handy_ws.http.request import HttpRequest, make_environ
from handy_ws.http.syntax import NOT_CONTROL, is_token, valid_authority

if TYPE_CHECKING:
    from io import BufferedIOBase

    from handy_ws.http.tls import TlsSession

__all__ = ["BadRequest", "RequestHead", "RequestSource", "find_head_end", "parse_head"]

_VERSION: Final = re.compile(r"HTTP/[0-9]\.[0-9]")
_HEAD_END: Final = b"\r\n\r\n"
#: The first byte of a TLS client: RFC 8446 section 5.1.
_TLS_HANDSHAKE: Final = 0x16
#: Fields that frame a message or choose its receiver: twice is an attack or a bug.
_SINGLE: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version"}
)

# CONNECT is for proxies, and the others are of protocols that httptools reads as well.
_NOT_SERVED: Final = frozenset(
    {
        "CONNECT",
        "ANNOUNCE",
        "DESCRIBE",
        "FLUSH",
        "GET_PARAMETER",
        "PAUSE",
        "PLAY",
        "PRI",
        "RECORD",
        "REDIRECT",
        "SET_PARAMETER",
        "SETUP",
        "TEARDOWN",
    }
)

_COMMON_NAMES = b"""
Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length
Content-Type Cookie DNT Expect Host If-Match If-Modified-Since If-None-Match If-Range Origin Pragma
Range Referer Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-WebSocket-Extensions
Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version Transfer-Encoding Upgrade
Upgrade-Insecure-Requests User-Agent X-Forwarded-For X-Forwarded-Proto X-Requested-With
""".split()
#: Names as clients send them -> in lower case, so that most need not be converted.
_LOWERED: Final = {
    spelling: name.lower().decode() for name in _COMMON_NAMES for spelling in (name, name.lower())
}


class BadRequest(Exception):  # noqa: N818 - the name of the thing, as in RFC 9110 section 15.5.1
    """The request cannot be served; the connection ends after the answer.

    Attributes:
        status: the status code of the answer, 4xx or 5xx.
        reason: one readable line for its body.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Make one that is answered with `status` and `reason`."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead:
    """A parsed request head.

    Attributes:
        method: as sent; methods are case-sensitive.
        target: the request-target exactly as sent.
        path: the decoded path of the target; bytes that are not UTF-8 become U+FFFD.
        query: what followed the ``?``, not decoded.
        version: ``"1.1"`` or ``"1.0"``.
        headers: names in lower case and values without outer white space, in order of arrival.
    """

    __slots__ = ("_first", "headers", "method", "path", "query", "raw_path", "target", "version")

    def __init__(self, method: str, target: str, version: str) -> None:
        """Make a head without header fields; `parse_head` is the way to get a real one."""
        self.method = method
        self.target = target
        self.version = version
        self.raw_path, _, self.query = target.partition("?")
        self.path = unquote(self.raw_path) if "%" in target else self.raw_path
        self.headers: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """Return the first value of the field `name` (lower case), or None."""
        return self._first.get(name)

    def get_all(self, name: str) -> list[str]:
        """Return all values of the field `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]

    def members(self, name: str) -> list[str]:
        """Return the members of the list field `name` (lower case), in order.

        A list may be spread over several fields and have empty elements, which are no members:
        RFC 9110 section 5.6.1. Nothing is said about what the members look like.
        """
        if name not in self._first:
            return []
        return [
            member
            for key, value in self.headers
            if key == name
            for element in value.split(",")
            if (member := element.strip(" \t"))
        ]

    def has_token(self, name: str, token: str) -> bool:
        """Say whether `token` (lower case) is a member of the list field `name` (lower case)."""
        return token in map(str.lower, self.members(name))

    def replace_host(self, authority: str) -> None:
        """Have `authority` stand for the Host field, whether there is one or not."""
        self._first["host"] = authority
        self.headers = [field for field in self.headers if field[0] != "host"]
        self.headers.append(("host", authority))

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants the connection to persist: RFC 9112 section 9.3."""
        if self.version == "1.1":
            return not self.has_token("connection", "close")
        return self.has_token("connection", "keep-alive") and not self.has_token(
            "connection", "close"
        )


class RequestSource:
    """All that is needed to make an `HttpRequest` later, and little more.

    One lives as long as each WebSocket connection, so it keeps the head as it came and parses it
    anew for the few programs that ask.

    Attributes:
        head_bytes: the request head, up to and with the empty line.
        remote_address: host and port of the client.
        local_address: host and port that the server is bound to.
        scheme: ``"http"``, or ``"https"`` if the client speaks TLS.
        tls: what is known of the TLS session, None without one.
        host: what a proxy says that the client took for the Host; None if there is nothing to say.
        path_params: what the rule of a `PathHandler` took from the path, or None.
        user: what `authorize` has set as `HttpRequest.user`.
    """

    __slots__ = (
        "head_bytes",
        "host",
        "local_address",
        "path_params",
        "remote_address",
        "scheme",
        "tls",
        "user",
    )

    def __init__(
        self,
        head_bytes: bytes,
        remote_address: tuple[str, int],
        local_address: tuple[str, int],
        tls: TlsSession | None = None,
    ) -> None:
        """Keep what a request is made of."""
        self.head_bytes = head_bytes
        self.remote_address = remote_address
        self.local_address = local_address
        self.scheme = "http" if tls is None else "https"
        self.tls = tls
        self.host: str | None = None
        self.path_params: dict[str, Any] | None = None
        self.user: Any = None

    def head(self) -> RequestHead:
        """Parse the head anew."""
        head = parse_head(self.head_bytes)
        if self.host is not None:
            head.replace_host(self.host)
        return head

    def environ(
        self, head: RequestHead | None = None, body: BufferedIOBase | None = None
    ) -> dict[str, Any]:
        """Make a WSGI environ (PEP 3333), of the same arguments as `request`."""
        return make_environ(self, head or self.head(), body)

    def request(
        self, head: RequestHead | None = None, body: BufferedIOBase | None = None
    ) -> HttpRequest:
        """Make the request.

        Args:
            head: the head, if it is at hand; parsed anew otherwise.
            body: a file at the start of the request body; empty by default.
        """
        request = HttpRequest(self.environ(head, body), self.path_params)
        request.user = self.user
        return request


def find_head_end(buffer: bytes | bytearray, scanned: int, limit: int) -> int:
    """Return the length of the head at the start of `buffer`, or 0 while it is not all there.

    Args:
        buffer: what has come so far.
        scanned: how much of it an earlier call has seen; only the rest is looked at, so the
            whole costs linear time.
        limit: the largest head to accept, in bytes.

    Raises:
        BadRequest: 431 or 414 for too long a head; 400 as soon as it is clear that no head will
            come of these bytes, so that a client that speaks something else need not time out.
    """
    # The end mark may straddle what was scanned before and what is new.
    end = buffer.find(_HEAD_END, max(0, scanned - 3))
    if end >= 0:
        end += len(_HEAD_END)
        if end <= limit:
            return end
    if max(end, len(buffer)) > limit:
        if buffer.find(b"\r\n", 0, limit) < 0:
            raise BadRequest(414, "the request line is too long")
        raise BadRequest(431, f"the request head is longer than {limit} bytes")
    if end < 0 and buffer:
        _check_beginning(buffer, scanned)
    return 0


def _check_beginning(buffer: bytes | bytearray, scanned: int) -> None:
    if scanned == 0 and buffer != b"\r" and not is_token(chr(buffer[0])):
        if buffer[0] == _TLS_HANDSHAKE:
            raise BadRequest(400, "TLS is not spoken here: use http:// or ws://")
        raise BadRequest(400, "this is not an HTTP request")
    new = max(0, scanned - 1)
    line_feeds = buffer.count(b"\n", scanned)
    if line_feeds and line_feeds != buffer.count(b"\r\n", new):
        raise BadRequest(400, "a line must end with CRLF")


def parse_head(head: bytes, max_header_count: int = 2**63) -> RequestHead:
    """Parse a whole head, as `find_head_end` delimits it, with httptools.

    Raises:
        BadRequest: 400 for what is malformed or ambiguous, 431 for too many fields, 501 for
            the method CONNECT, 505 for versions other than 1.0 and 1.1.
    """
    line_ends = head.count(b"\r\n")
    # What is left without legal bytes must be the line ends and nothing else.
    if head.translate(None, NOT_CONTROL) != b"\r\n" * line_ends:
        raise BadRequest(400, "the request head has a control character or a bare CR or LF")
    if line_ends - 2 > max_header_count:
        raise BadRequest(431, f"the request has more than {max_header_count} header fields")
    parsed, authority = _parse_request_line(head[: head.index(b"\r\n")].decode("latin-1"))
    fields = _Fields(parsed)
    try:
        HttpRequestParser(fields).feed_data(head)
    except HttpParserUpgrade:
        pass  # a WebSocket handshake
    except HttpParserInvalidMethodError:
        raise BadRequest(501, "the method is not implemented") from None
    except HttpParserError as error:
        # What is wrong with a complete head is its framing, and `body_of` decides on that.
        if not fields.is_complete:
            raise fields.refusal or BadRequest(400, f"malformed head: {error}") from None
    _check_host(parsed, authority)
    return parsed


class _Fields:
    """What httptools calls for each field: it fills a head."""

    __slots__ = ("_first", "_headers", "is_complete", "refusal")

    def __init__(self, head: RequestHead) -> None:
        self._headers = head.headers
        self._first = head._first  # noqa: SLF001 - the parser fills what the class only reads
        self.is_complete = False
        self.refusal: BadRequest | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = _LOWERED.get(name) or name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        if lowered not in self._first:
            self._first[lowered] = text
        elif lowered in _SINGLE:
            self.refusal = BadRequest(400, f"the field {lowered} may come only once")
            raise self.refusal
        self._headers.append((lowered, text))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def _parse_request_line(line: str) -> tuple[RequestHead, str | None]:
    """Return a head without fields, and the authority if the target has one."""
    parts = line.split(" ")
    if len(parts) != 3:  # noqa: PLR2004
        raise BadRequest(400, "the request line must be: method, target, version")
    method, target, version = parts
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        if _VERSION.fullmatch(version):
            raise BadRequest(505, "this server speaks HTTP/1.1 and HTTP/1.0")
        raise BadRequest(400, "the HTTP version is malformed")
    if not is_token(method):
        raise BadRequest(400, "the method is not a token")
    if method in _NOT_SERVED:
        raise BadRequest(501, "the method is not implemented")
    if not target or not target.isascii() or not target.isprintable() or "#" in target:
        raise BadRequest(400, "the target has an illegal character")
    if target[0] != "/":
        return _other_form(method, target, version[5:])
    return RequestHead(method, target, version[5:]), None


def _other_form(method: str, target: str, version: str) -> tuple[RequestHead, str | None]:
    """Read the forms of RFC 9112 section 3.2 that do not begin with a slash."""
    if target == "*":
        if method != "OPTIONS":
            raise BadRequest(400, "the target * goes with OPTIONS only")
        return RequestHead(method, target, version), None
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        raise BadRequest(400, "the target must be a path or an http URL")
    length = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:length], rest[length:]
    head = RequestHead(method, path if path.startswith("/") else "/" + path, version)
    head.target = target
    return head, authority


def _check_host(head: RequestHead, authority: str | None) -> None:
    host = head.get("host")
    if host is None and head.version == "1.1":
        raise BadRequest(400, "the Host field is missing")
    if host is not None and not valid_authority(host):
        raise BadRequest(400, "the Host field is not valid")
    if authority is not None:
        # The target's authority takes the place of the field: RFC 9112 section 3.2.2.
        if not valid_authority(authority):
            raise BadRequest(400, "the host in the target is not valid")
        head.replace_host(authority)
