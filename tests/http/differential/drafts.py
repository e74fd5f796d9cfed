"""Valid requests, still in parts, so that `spoils.py` can get at each."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.http.differential.limits import MAX_BODY_SIZE
from tests.http.differential.outcome import Request

if TYPE_CHECKING:
    import random

CRLF: Final = b"\r\n"
TOKEN_CHARACTERS: Final = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"

_METHODS: Final = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE")
_RARE_METHODS: Final = (b"M-SEARCH", b"PROPFIND", b"REPORT", b"LOCK", b"MKCOL", b"PURGE", b"QUERY")
_TARGETS: Final = (
    b"/",
    b"/a/b.html?c=d&e",
    b"/%C3%A4/%00%0d%0a",
    b"/?",
    b"/?a?b",
    b"//two//slashes",
    b"/../..%2fetc",
    b'/"<>\\^`{|}',
    b"/:@!$&'()*+,;=~-._",
)
_HOSTS: Final = (
    b"a",
    b"example.org",
    b"EXAMPLE.org:8080",
    b"[::1]",
    b"[::1]:80",
    b"127.0.0.1:",
    b"%41",
)
_PATHS: Final = (b"", b"/", b"/x?y=z", b"?q", b"/http://b/")
_NAMES: Final = (
    b"Accept",
    b"Cookie",
    b"User-Agent",
    b"X_Under_Score",
    b"X-Forwarded-For",
    b"Content-Type",
    b"Upgrade",
    b"Keep-Alive",
    b"Origin",
    b"Sec-WebSocket-Extensions",
    b"TE",
    b"Trailer",
)
_SPACES: Final = (b"", b" ", b" ", b" ", b"\t", b" \t  ")
_EXTENSIONS: Final = (
    b";a",
    b";a=b",
    b';name="va;lue";x',
    b';q="\\"\\\\"',
    b"; a = b",
    b" ;a",
    b"\t ;a=b;c",
    b';a="\xe4";b',
)
# A body that is taken for something else would be noticed.
_BODIES: Final = (
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n",
    b"0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"5\r\nhello\r\n",
)


@dataclass
class Draft:
    """One request."""

    method: bytes
    target: bytes
    version: bytes = b"HTTP/1.1"
    fields: list[bytes] = field(default_factory=list)  # lines without their ends
    payload: bytes = b""
    # The wire of a body: its bytes, or for each chunk the size, the data, and the line end; then
    # the last size, the trailers, and the empty line.
    body: list[bytes] = field(default_factory=list)
    is_chunked: bool = False
    # What is wrong with single lines of the head: their ends, by their number.
    ends: dict[int, bytes] = field(default_factory=dict)
    start: bytes | None = None  # in the place of the request line

    def wire(self) -> bytes:
        """Return the bytes."""
        start = self.start
        if start is None:
            start = b" ".join((self.method, self.target, self.version))
        lines = [start, *self.fields, b""]
        head = b"".join(line + self.ends.get(at, CRLF) for at, line in enumerate(lines))
        return head + b"".join(self.body)

    def request(self, host: bytes) -> Request:
        """Return what it means, if nothing is wrong with it."""
        pairs = (line.partition(b":") for line in self.fields)
        fields = [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]
        if self.target[:1] not in b"/*":
            # The host of the target takes the place of the field, and stands behind the others.
            fields = [*(field for field in fields if field[0] != b"host"), (b"host", host)]
        fields = [(k, v.lower() if k == b"transfer-encoding" else v) for k, v in fields]
        return Request(self.method, self.target, self.version[5:], tuple(fields), self.payload)


def draft(rng: random.Random, features: set[str]) -> tuple[Draft, Request, bool]:
    """Return a valid request, what it means, and whether the connection persists after it."""
    made = Draft(rng.choice(_METHODS if rng.random() < 0.9 else _RARE_METHODS), b"/")
    if rng.random() < 0.2:
        features.add("HTTP/1.0")
        made.version = b"HTTP/1.0"
    made.fields = [field_line(rng) for _ in range(rng.choice((0, 1, 2, 3, 5)))]
    host = _target(rng, made, features)
    persists = _connection(rng, made, features)
    _body(rng, made, features)
    rng.shuffle(made.fields)
    return made, made.request(host), persists


def _target(rng: random.Random, made: Draft, features: set[str]) -> bytes:
    """Choose a target, mostly add Host, and return the host that counts, if any."""
    host = b""
    if made.version == b"HTTP/1.1" or rng.random() < 0.7:
        host = rng.choice(_HOSTS)
        made.fields.append(_line(rng, b"Host", host))
    kind = rng.random()
    if kind < 0.7:
        made.target = rng.choice(_TARGETS)
    elif kind < 0.9:
        features.add("absolute target")
        host = host if host and rng.random() < 0.5 else rng.choice(_HOSTS)
        made.target = rng.choice((b"http://", b"https://", b"HtTp://")) + host + rng.choice(_PATHS)
    else:
        features.add("target *")
        made.method, made.target = b"OPTIONS", b"*"
    return host


def _connection(rng: random.Random, made: Draft, features: set[str]) -> bool:
    options = rng.choice(
        (b"", b"", b"", b"", b"close", b"keep-alive", b"x, Keep-Alive", b",Close,")
    )
    if rng.random() < 0.1:
        options = b"Upgrade"
        features.add("upgrade")
    if options:
        made.fields.append(_line(rng, b"Connection", options))
    if b"close" in options.lower():
        return False
    return made.version == b"HTTP/1.1" or b"keep-alive" in options.lower()


def field_line(rng: random.Random) -> bytes:
    """Return a line that frames nothing and means nothing to the server."""
    name = rng.choice(_NAMES) if rng.random() < 0.6 else token(rng).encode()
    return _line(rng, name, _value(rng))


def token(rng: random.Random) -> str:
    return "x" + "".join(rng.choices(TOKEN_CHARACTERS, k=rng.choice((0, 1, 5, 20))))


def _line(rng: random.Random, name: bytes, value: bytes) -> bytes:
    if rng.random() < 0.3:
        name = rng.choice((name.lower(), name.upper()))
    return name + b":" + rng.choice(_SPACES) + value + rng.choice(_SPACES[:2] + _SPACES[4:])


def _value(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return b""
    length = rng.choice((1, 2, 5, 20, 60))
    if kind < 0.8:
        return bytes(rng.choices(range(0x20, 0x7F), k=length)).strip()
    legal = [*b"\t\t", *range(0x20, 0x7F), *range(0x80, 0x100)]
    return bytes(rng.choices(legal, k=length)).strip(b" \t")


# Bodies


def _body(rng: random.Random, made: Draft, features: set[str]) -> None:
    kind = rng.random()
    if kind < 0.35:
        return
    expects = rng.random() < 0.1
    if expects:
        features.add("expectation")
        made.fields.append(_line(rng, b"Expect", rng.choice((b"100-continue", b"100-Continue"))))
    if kind < 0.65 or made.version == b"HTTP/1.0":
        features.add("sized body")
        made.payload = payload(rng)
        made.fields.append(_line(rng, b"Content-Length", _length(rng, len(made.payload))))
        made.body = [made.payload]
    else:
        features.add("chunked body")
        coding = rng.choice((b"chunked", b"chunked", b"Chunked", b"CHUNKED"))
        made.fields.append(_line(rng, b"Transfer-Encoding", coding))
        _chunks(rng, made, features)


def payload(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(_BODIES)
    if kind < 0.43:
        return bytes(MAX_BODY_SIZE)
    return rng.randbytes(rng.choice((0, 1, 2, 10, 15, 16, 17, 40, 300)))


def _length(rng: random.Random, length: int) -> bytes:
    text = b"%d" % length
    return text if rng.random() < 0.9 else text.zfill(rng.choice((2, 5, 19, 20)))


def _chunks(rng: random.Random, made: Draft, features: set[str]) -> None:
    made.is_chunked = True
    left = MAX_BODY_SIZE
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        data = payload(rng)[:left] or b"x"[:left]
        if data:
            left -= len(data)
            made.payload += data
            made.body += [_size(rng, len(data), features), data, CRLF]
    made.body.append(_size(rng, 0, features))
    if rng.random() < 0.25:
        features.add("trailers")
        made.body += [field_line(rng) + CRLF for _ in range(rng.choice((1, 2)))]
    made.body.append(CRLF)


def _size(rng: random.Random, size: int, features: set[str]) -> bytes:
    line = rng.choice((b"%x", b"%X")) % size
    if rng.random() < 0.15:
        line = line.zfill(rng.choice((2, 5, 16)))
    if rng.random() < 0.2:
        features.add("chunk extension")
        line += rng.choice(_EXTENSIONS)
    return line + CRLF
