"""Where handy_ws and h11 differ: a list, in two parts.

`DIFFERENCES` are on the strict side: h11 hands a request out that handy_ws refuses. Each says which
requests those are, from their bytes alone, and how they are refused. It works in both directions:
a request to which none applies must be read as h11 reads it, and one to which any applies must be
refused, even though h11 takes it.

`CORRECTIONS` are where the RFC asks a server for more than h11 does, or h11 leaves it to its user.
They change the question or the answer, and then it must be the same request on both sides.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.http.differential import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.differential.message import Message


@dataclass(frozen=True, slots=True)
class Difference:
    """Requests that are refused with one of `statuses`, whatever h11 makes of them."""

    name: str
    reason: str
    statuses: frozenset[int]
    applies: Callable[[Message], object]


@dataclass(frozen=True, slots=True)
class Correction:
    """What is made right before or after h11 is asked."""

    name: str
    reason: str


# The alphabets and forms, each written from the RFC once more.

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_BARE_CR: Final = re.compile(rb"\r[^\n]")
_FOLD: Final = re.compile(rb"\n[ \t]")
_TOKEN_CHARACTER: Final = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]+")
_EXTENSIONS: Final = re.compile(
    rb"[0-9A-Fa-f]+(?:[ \t]*;[ \t]*T(?:[ \t]*=[ \t]*(?:T|Q))?)*".replace(
        b"T", rb"[!#-'*+.^_`|~0-9A-Za-z-]+"
    ).replace(b"Q", rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"')
)
_TRAILER: Final = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+:")
_TARGET: Final = re.compile(rb"/[^#]*|(?i:https?)://[^#]*")
_AUTHORITY: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]*)\])(?::([0-9]{0,5}))?"
)
_LONGEST_AUTHORITY: Final = 259  # a DNS name with a port

# Node's parser knows these, and no others.
_METHODS: Final = frozenset(
    b"""
    GET HEAD POST PUT DELETE OPTIONS TRACE PATCH
    ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY
    PROPFIND PROPPATCH PURGE QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK
    UNSUBSCRIBE
    """.split()
)
_ALONE: Final = (b"content-length", b"sec-websocket-key", b"sec-websocket-version")
_FRAMING: Final = (b"content-length", b"transfer-encoding", b"host")


def _is_bad_host(host: bytes) -> bool:
    parts = _AUTHORITY.fullmatch(host)
    if parts is None or len(host) > _LONGEST_AUTHORITY:
        return True
    address, port = parts.groups()
    try:
        socket.inet_pton(socket.AF_INET6, (b"::" if address is None else address).decode())
    except OSError:
        return True
    return int(port or b"0") >= 1 << 16


def _bad_target(message: Message) -> bool:
    if message.target == b"*":
        return message.method != b"OPTIONS"
    return _TARGET.fullmatch(message.target) is None


def _bad_authority(message: Message) -> bool:
    return message.authority is not None and _is_bad_host(message.authority)


def _starts_wrong(message: Message) -> bool:
    return not _TOKEN_CHARACTER.match(message.data)


def _repeated(message: Message) -> bool:
    return any(len(message.values(name)) > 1 for name in _ALONE)


def _list_of_lengths(message: Message) -> bool:
    return any(b"," in value for value in message.values(b"content-length"))


def _long_body(message: Message) -> bool:
    lengths = [value for value in message.values(b"content-length") if value.isdigit()]
    return any(int(length) > limits.MAX_BODY_SIZE for length in lengths)


def _unmet_expectation(message: Message) -> bool:
    expectations = message.values(b"expect")[:1]
    is_met = all(value.lower() == b"100-continue" for value in expectations)
    return message.version == b"HTTP/1.1" and not is_met


def _expectation_of_nothing(message: Message) -> bool:
    framing = message.values(b"content-length") + message.values(b"transfer-encoding")
    return message.version == b"HTTP/1.1" and not framing and bool(message.values(b"expect"))


def _in_chunk_lines(applies: Callable[[bytes], object]) -> Callable[[Message], object]:
    def in_any(message: Message) -> bool:
        return message.chunks is not None and any(map(applies, message.chunks.lines))

    return in_any


def _in_trailers(applies: Callable[[bytes], object]) -> Callable[[Message], object]:
    return lambda message: message.chunks is not None and applies(message.chunks.trailers)


def _bad_extensions(message: Message) -> bool:
    if message.chunks is None:
        return False
    whole = message.chunks.lines[:-1] if message.chunks.is_cut else message.chunks.lines
    return any(_SIZE.match(line) and not _EXTENSIONS.fullmatch(line) for line in whole)


def _long_size_line(message: Message) -> bool:
    if message.chunks is None:
        return False
    lengths = [len(line) + len("\r\n") for line in message.chunks.lines]
    if message.chunks.is_cut:
        lengths[-1] -= len("\r\n")
    return max(lengths) > limits.MAX_BODY_LINE


def _many_extensions(message: Message) -> bool:
    lines = [] if message.chunks is None else message.chunks.lines
    overhead = 0
    for line in lines[: -1 if message.chunks and message.chunks.is_cut else None]:
        digits = _SIZE.match(line)
        if digits is not None:
            overhead += len(line) + 2 - limits.CHUNK_OVERHEAD - 2 * int(digits[0], 16)
            if overhead > limits.MAX_OVERHEAD:
                return True
    return False


def _trailer_lines(trailers: bytes) -> list[bytes]:
    """Return the lines that have come whole, without the empty one."""
    return [line for line in trailers.split(b"\r\n")[:-1] if line]


def _long_trailer_line(trailers: bytes) -> bool:
    lines = trailers.split(b"\r\n")
    whole, begun = lines[:-1], lines[-1]
    most = limits.MAX_BODY_LINE
    return len(begun) > most or any(len(line) + len("\r\n") > most for line in whole)


def _framing_trailer(trailers: bytes) -> bool:
    return any(line.partition(b":")[0].lower() in _FRAMING for line in _trailer_lines(trailers))


def _is(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


DIFFERENCES: Final = (
    # Heads
    Difference(
        "a line of the head ends with LF alone",
        "RFC 9112 section 2.2 allows to take it for a line end; a proxy in front may not do so. "
        "What h11 takes for the end of a head may be none, and then the head is longer",
        _is(400, 414, 431),
        lambda message: _BARE_LF.search(message.head),
    ),
    Difference(
        "a control character in the head",
        "RFC 9110 section 5.5: CTL characters are not allowed in values; h11 allows most of them",
        _is(400),
        lambda message: _CONTROL.search(message.head),
    ),
    Difference(
        "a folded line",
        "RFC 9112 section 5.2: a server must refuse it or unfold it, and h11 does the latter",
        _is(400),
        lambda message: _FOLD.search(message.head),
    ),
    Difference(
        "another version than HTTP/1.1 and HTTP/1.0",
        "RFC 9110 section 15.6.6; h11 leaves that to its user",
        _is(505),
        lambda message: (
            re.fullmatch(rb"HTTP/[0-9]\.[0-9]", message.version)
            and message.version not in (b"HTTP/1.1", b"HTTP/1.0")
        ),
    ),
    Difference(
        "an unknown method",
        "RFC 9110 section 9.1: 501 for methods that a server does not know; CONNECT is for proxies",
        _is(501),
        lambda message: len(message.start) > 1 and message.method not in _METHODS,
    ),
    Difference(
        "a target of another form",
        "RFC 9112 section 3.2 has four forms, none with a fragment; to h11 it is any visible ASCII",
        _is(400),
        _bad_target,
    ),
    Difference(
        "a Host that is none",
        "RFC 9112 section 3.2: an invalid value must be answered with 400",
        _is(400),
        lambda message: any(map(_is_bad_host, message.values(b"host"))),
    ),
    Difference(
        "a host in the target that is none",
        "as with Host, whose place it takes; a user name there is wrong (RFC 9110 section 4.2.4)",
        _is(400),
        _bad_authority,
    ),
    Difference(
        "a field twice that frames the message or its WebSocket",
        "RFC 9112 section 6.3 allows equal lengths, which h11 makes one; RFC 6455 section 4.2.1 "
        "knows one key and one version",
        _is(400),
        _repeated,
    ),
    Difference(
        "a list of equal lengths",
        "RFC 9112 section 6.3 allows to make it one, or to refuse it",
        _is(400),
        _list_of_lengths,
    ),
    Difference(
        "Content-Length beside Transfer-Encoding",
        "RFC 9112 section 6.1: a server may refuse it, for it ought to be handled as an error",
        _is(400),
        lambda message: message.values(b"content-length") and message.values(b"transfer-encoding"),
    ),
    Difference(
        "Transfer-Encoding in HTTP/1.0",
        "RFC 9112 section 6.1: it must be treated as if the framing were faulty",
        _is(400),
        lambda message: message.version == b"HTTP/1.0" and message.values(b"transfer-encoding"),
    ),
    Difference(
        "an expectation that is not 100-continue",
        "RFC 9110 section 10.1.1 allows 417; h11 leaves that to its user",
        _is(417),
        _unmet_expectation,
    ),
    Difference(
        "an expectation without a body",
        "RFC 9110 section 10.1.1: it must not be sent then; the client will wait for nothing",
        _is(411),
        _expectation_of_nothing,
    ),
    Difference(
        "what cannot begin a request",
        "RFC 9112 section 3: the first byte is one of a token; h11 waits for the end of the head",
        _is(400),
        _starts_wrong,
    ),
    # Chunked bodies
    Difference(
        "a control character in the line with the size of a chunk",
        "RFC 9112 section 7.1.1: extensions are tokens and quoted strings; a bare CR or LF there "
        "is the line's end to somebody",
        _is(400),
        _in_chunk_lines(re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search),
    ),
    Difference(
        "malformed extensions of a chunk",
        "RFC 9112 section 7.1.1 says what they look like; to h11 they are whatever comes, and "
        "white space may stand behind them",
        _is(400),
        _bad_extensions,
    ),
    Difference(
        "a size of many digits",
        "RFC 9112 section 7.1: beware of overflows. No body has a size of more than 16 digits",
        _is(400, 413),
        _in_chunk_lines(re.compile(rb"[0-9A-Fa-f]{%d}" % (limits.MAX_SIZE_DIGITS + 1)).match),
    ),
    Difference(
        "a malformed trailer section",
        "RFC 9112 section 7.1.2: lines as in a head, read as strictly; h11 waits for the last one",
        _is(400),
        _in_trailers(
            lambda trailers: (
                any(pattern.search(trailers) for pattern in (_CONTROL, _BARE_LF, _BARE_CR, _FOLD))
                or trailers[:1] in (b" ", b"\t")
                or not all(map(_TRAILER.match, _trailer_lines(trailers)))
            )
        ),
    ),
    Difference(
        "a trailer that frames the message",
        "RFC 9110 section 6.5.1: it must not be sent there; somebody might act on it",
        _is(400),
        _in_trailers(_framing_trailer),
    ),
    # Limits
    Difference(
        "too long a head",
        "`max_head_size`; h11 has a limit, too, which is off here",
        _is(414, 431),
        lambda message: len(message.head) > limits.MAX_HEAD_SIZE,
    ),
    Difference(
        "too many fields",
        "`max_header_count`",
        _is(431),
        lambda message: len(message.lines) > limits.MAX_HEADER_COUNT,
    ),
    Difference(
        "too long a body",
        "`max_body_size`; a length that no integer of 64 bits holds is malformed",
        _is(400, 413),
        lambda message: (
            _long_body(message)
            or (message.chunks is not None and message.chunks.size > limits.MAX_BODY_SIZE)
        ),
    ),
    Difference(
        "too long a line in a chunked body",
        "RFC 9112 section 7.1.1: the length of extensions has to be limited",
        _is(400),
        lambda message: _long_size_line(message) or _in_trailers(_long_trailer_line)(message),
    ),
    Difference(
        "more extensions than data",
        "a small body could be made a very long one",
        _is(400),
        _many_extensions,
    ),
    Difference(
        "too long a trailer section",
        "as with heads",
        _is(431),
        _in_trailers(lambda text: sum(map(len, _trailer_lines(text))) > limits.MAX_TRAILERS),
    ),
)

EMPTY_LINES: Final = Correction(
    "empty lines before a request are no request",
    "RFC 9112 section 2.2: a server should ignore at least one; h11 refuses it. They are taken "
    "away before h11 is asked",
)
HOST: Final = Correction(
    "the host of the target takes the place of Host",
    "RFC 9112 section 3.2.2: an origin server must do that; h11 leaves it to its user",
)
SPACE: Final = Correction(
    "white space may stand between the size of a chunk and its extensions",
    "RFC 9112 section 7.1.1 has BWS there, which must be taken (RFC 9110 section 5.6.3); h11 takes "
    "it only behind them. It is taken away before h11 is asked",
)
PERSISTENCE: Final = Correction(
    "an HTTP/1.0 client may ask to be kept",
    "RFC 9112 section 9.3: if it says keep-alive; h11 closes",
)
CORRECTIONS: Final = (EMPTY_LINES, HOST, SPACE, PERSISTENCE)
