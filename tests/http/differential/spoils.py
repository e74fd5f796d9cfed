"""What can be wrong with a request on purpose: constructs that others have stumbled over.

Each spoils one draft in one way. Most of them make it a request that must be refused; which, the
judges say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.http.differential.drafts import CRLF, Draft, field_line
from tests.http.differential.limits import (
    CHUNK_OVERHEAD,
    MAX_BODY_SIZE,
    MAX_HEAD_SIZE,
    MAX_HEADER_COUNT,
    MAX_OVERHEAD,
)

if TYPE_CHECKING:
    import random

Spoil = Callable[["random.Random", Draft], None]

_WRONG_ENDS: Final = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r\n",
    b"\n\n",
    b"\r\n\r",
    b"",
    b" \r\n",
    b"\x85",
)
_SPECIAL_BYTES: Final = (*range(0x20), *range(0x7F, 0x100))
# With the real length, in decimal, in the place of each %b.
_ODD_LENGTHS: Final = (
    b"+%b", b"-%b", b"0x%b", b"0_%b", b"1_0", b"%b 0", b"0 %b", b"%b,%b", b"%b, %b", b"%b,", b",%b",
    b"", b" ", b"%b.0", b"%be0", b"\xb2", b"\xd9\xa5", b"\xef\xbc\x91", b"%b\0", b"%b\x0b",
    b"\x0c%b", b"9" * 19, b"9" * 20, b"9" * 30, b"0" * 30, b"0" * 25 + b"%b",
    b"18446744073709551616", b"4294967296", b"ten", b"%b;a", b'"%b"', b"%b\xa0", b"%b, 0", b"%bx",
)  # fmt: skip
_ODD_CODINGS: Final = (
    b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,",
    b",chunked", b"chunked;a=b", b"chunked x", b"xchunked", b"chunkedx", b"\x0bchunked",
    b"chunked\x0c", b'"chunked"', b"", b"chun\tked", b"\x00chunked", b"chunked\xa0", b"\xe3hunked",
)  # fmt: skip
_ODD_STARTS: Final = (
    b"GET /", b"GET", b"", b" GET / HTTP/1.1", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1",
    b"GET / HTTP/1.1 ", b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b"GET / HTTP/1.1 x",
    b"GET HTTP/1.1", b"GET  HTTP/1.1", b"GET / HTTP/ 1.1", b"/ HTTP/1.1", b"HTTP/1.1 200 OK",
    b"GET /\x0bHTTP/1.1", b"GET / x HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02",
    b"GET /\xa0HTTP/1.1",
)  # fmt: skip
_ODD_VERSIONS: Final = (
    b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/1.10",
    b"HTTP/01.1", b"HTTP/1", b"HTTP/11", b"http/1.1", b"HTTP/1,1", b"HTTP/1.1.", b"HTTP/-1.1",
    b"HTTP/\xb2.\xb3", b"ICY/1.1", b"RTSP/1.0", b"HTTPS/1.1", b"HTTP/1.\xd9\xa1", b"HTTP1.1",
    b"HTTP/9.9",
)  # fmt: skip
_ODD_TARGETS: Final = (
    b"a", b"a/b", b"*", b"**", b"#", b"/#a", b"/a#", b"/\x80", b"/\xc3\xa4", b"/\x00", b"/\x7f",
    b"/\t", b"a:80", b"//", b"?", b"ftp://a/", b"http:/a", b"http:a", b"http//a", b"http://",
    b"http:///a", b"http://?", b"http://u@a/", b"http://u:p@a/", b"http://a b/", b"http://a:b/",
    b"http://a:80:80/", b"http://[::1/", b"http://a#b", b"http://a\\b/", b"http://\xe4/",
    b"javascript:1", b"://a/", b"ws://a/", b"http://a,b/", b"http://<a>/", b"http://a:999999/",
    b"http://" + b"a" * 300,
)  # fmt: skip
_ODD_METHODS: Final = (
    b"get", b"Get", b"FANCY", b"G:T", b"GET,", b"(GET", b"G\xc8T", b"CONNECT", b"GETX", b"GE", b"G",
    b"M_SEARCH", b"!#$%&'*+-.^_`|~", b"PRI", b"DESCRIBE", b"SETUP", b"FLUSH", b"HTTP", b"\x00GET",
    b"G/T",
)  # fmt: skip
_ODD_HOSTS: Final = (
    b"", b"a b", b"a, b", b"a,b", b"a/b", b"u@a", b"a:b", b"a:", b"a:80:80", b"[::1", b"::1", b"[]",
    b"[::1]x", b"\xe4", b"a\x00", b"a\x0bb", b"a" * 300, b"a?b", b"a#b", b"a\\b", b"%zz", b"%41",
    b"<a>", b"http://a", b"a:999999", b'"a"', b"[g::1]",
)  # fmt: skip
# With the real size, in hexadecimal, in the place of %b.
_ODD_SIZES: Final = (
    b"", b" ", b"+%b", b"-%b", b"0x%b", b"0_%b", b"1_0", b" %b", b"\t%b", b"%b ", b"%b 5", b"g",
    b"\xd9\xa5", b"\xb2", b"%bh", b"%b,", b"%b;\r", b"%b;\n", b"%b;a\rb", b"%b;a\nb", b"%b;\0",
    b"%b\0", b"%b\x0b", b"%b;\x7f", b"%b x", b"0" * 17 + b"%b", b"0" * 19 + b"%b",
    b"0" * 20 + b"%b", b"0" * 14 + b"%b", b"f" * 16, b"f" * 17, b"f" * 20, b"f" * 21,
    b"1" + b"0" * 16, b"bb9", b"%b.0", b"00", b"0", b"%b:", b"%b\xa0", b'%b;a="', b"\0%b", b"%b",
    b"%b;%b", b"%b;", b"%b;\xe4", b"%b;a=", b"%b;=a", b"%b;a ", b'%b;a="b"c', b'%b;a="\\', b"%b;;a",
    b"%b;a b", b"%b ;", b"%b;a=b=c", b'%b;"a"',
)  # fmt: skip
_LONG_SIZES: Final = [b"%b;" + b"x" * length for length in (1019, 1020, 1021, 1022, 5000)]
_ODD_CHUNK_ENDS: Final = (b"x", b"xx\r\n", b"\rx", b"\r\n\r\n", b"x\r\n", b"\0\0", b"0\r\n")
_ODD_TRAILERS: Final = (
    b"no colon", b": no name", b"A : b", b"A\t: b", b" A: b", b"A: b\r\n c", b"A: b\nC: d",
    b"A: b\rC: d", b"A: \x00", b"A: \x0b", b"A: \x7f", b"A(: b", b"\xe4: b", b"Content-Length: 5",
    b"content-length: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Host: b",
    b"A: " + b"x" * 1020, b"A: " + b"x" * 1018, b"\r\n".join([b"A: " + b"x" * 1000] * 9), b"\x00",
    b"\xff", b"A:\xff", b"\r", b"GET / HTTP/1.1", b"Content-Length : 5", b"",
)  # fmt: skip


def _start(rng: random.Random, made: Draft) -> None:
    made.start = rng.choice(_ODD_STARTS)


def _version(rng: random.Random, made: Draft) -> None:
    made.version = rng.choice(_ODD_VERSIONS)


def _target(rng: random.Random, made: Draft) -> None:
    made.target = rng.choice(_ODD_TARGETS)


def _method(rng: random.Random, made: Draft) -> None:
    made.method = rng.choice(_ODD_METHODS)


def _line_end(rng: random.Random, made: Draft) -> None:
    made.ends[rng.randrange(len(made.fields) + 2)] = rng.choice(_WRONG_ENDS)


def _fold(rng: random.Random, made: Draft) -> None:
    white = rng.choice((b" ", b"\t", b" \t ", b" folded", b"\tA: b"))
    made.fields.insert(rng.randint(0, len(made.fields)), white)


def _name(rng: random.Random, made: Draft) -> None:
    """Spoil what stands before the colon."""
    at = rng.randrange(len(made.fields)) if made.fields else 0
    name, _, value = (made.fields or [b"A: b"])[at].partition(b":")
    byte = bytes([rng.choice(_SPECIAL_BYTES)])
    names = (
        name + b" :", name + b"\t:", b":", name, b" " + name + b":", byte + name + b":",
        name + byte + b":", name[:1] + byte + name[1:] + b":", b'"' + name + b'":', name + b"\r\n:",
        name + b"(:", name + b"::", name.replace(b"-", b"_") + b":", name + b";",
    )  # fmt: skip
    made.fields[at : at + 1] = [rng.choice(names) + value]


def _byte(rng: random.Random, made: Draft) -> None:
    """Put a byte that is no printable ASCII somewhere into a line of the head."""
    at = rng.randrange(len(made.fields)) if made.fields else 0
    line = (made.fields or [b"A: b"])[at]
    place = rng.randint(0, len(line))
    byte = bytes([rng.choice(_SPECIAL_BYTES)])
    made.fields[at : at + 1] = [line[:place] + byte + line[place:]]


def _twice(rng: random.Random, made: Draft) -> None:
    """Double a field, perhaps with another value."""
    special = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect")
    lines = [line for line in made.fields if line.partition(b":")[0].lower() in special]
    if not lines or rng.random() < 0.3:
        lines = [rng.choice((b"Sec-WebSocket-Key: a", b"Sec-WebSocket-Version: 13", b"Host: a"))]
        made.fields += lines
    name, _, value = rng.choice(lines).partition(b":")
    other = rng.choice((value, value, value + b" ", b" b", b" 0", b"chunked", b"", b"1, 1"))
    made.fields.insert(
        rng.randint(0, len(made.fields)), rng.choice((name, name.upper())) + b":" + other
    )


def _replaced(name: bytes, values: tuple[bytes, ...]) -> Spoil:
    """Return what gives a field another value, or adds it."""

    def spoil(rng: random.Random, made: Draft) -> None:
        key = name.lower()
        made.fields = [line for line in made.fields if line.partition(b":")[0].lower() != key]
        made.fields.insert(0, name + b":" + rng.choice((b"", b" ")) + rng.choice(values))

    return spoil


def _length(rng: random.Random, made: Draft) -> None:
    length = b"%d" % len(b"".join(made.body))
    _replaced(b"Content-Length", (rng.choice(_ODD_LENGTHS).replace(b"%b", length),))(rng, made)


def _other_framing(rng: random.Random, made: Draft) -> None:
    length = b"Content-Length: %d" % rng.choice(
        (0, 1, 5, len(made.payload), len(b"".join(made.body)))
    )
    coding = b"Transfer-Encoding: chunked"
    made.fields.insert(rng.randint(0, len(made.fields)), rng.choice((length, coding)))


def _old_version(_: random.Random, made: Draft) -> None:
    made.version = b"HTTP/1.0"


def _missing(rng: random.Random, made: Draft) -> None:
    if made.fields:
        del made.fields[rng.randrange(len(made.fields))]


def _size(rng: random.Random, made: Draft) -> None:
    """Spoil the size of a chunk."""
    # Another spoil may have left none.
    sizes = [at for at, piece in enumerate(made.body) if piece.endswith(CRLF) and piece != CRLF]
    at = rng.choice(sizes or [0])
    if rng.random() < 0.2:
        made.body[at] = made.body[at][:-2] + rng.choice(_WRONG_ENDS)
    else:
        size = made.body[at].partition(b";")[0].strip()
        line = rng.choice(_LONG_SIZES if rng.random() < 0.1 else _ODD_SIZES)
        made.body[at] = line.replace(b"%b", size) + CRLF


def _chunk_end(rng: random.Random, made: Draft) -> None:
    """Spoil what stands behind a chunk, or at the end of them."""
    ends = [at for at, piece in enumerate(made.body) if piece == CRLF]
    made.body[rng.choice(ends or [0])] = rng.choice((*_WRONG_ENDS, *_ODD_CHUNK_ENDS))


def _trailer(rng: random.Random, made: Draft) -> None:
    made.body.insert(len(made.body) - 1, rng.choice(_ODD_TRAILERS) + CRLF)
    if rng.random() < 0.3:
        made.body.insert(len(made.body) - 1, field_line(rng) + CRLF)


def _many_fields(rng: random.Random, made: Draft) -> None:
    count = MAX_HEADER_COUNT + rng.choice((0, 1, 5)) - len(made.fields)
    made.fields += [b"A: b"] * count


def _long_head(rng: random.Random, made: Draft) -> None:
    missing = MAX_HEAD_SIZE - len(made.wire()) + len(b"".join(made.body)) + rng.choice((0, 1, 500))
    if rng.random() < 0.3:
        made.target = b"/" + b"a" * (missing + len(made.target) - 1)
    else:
        made.fields.append(b"A:" + b"b" * (missing - len(b"A:\r\n")))


def _many_extensions(rng: random.Random, made: Draft) -> None:
    """Add extensions up to about the limit."""
    line, count = b"1;" + b"x" * 1000, 16
    left = MAX_OVERHEAD - count * (len(line + CRLF) - CHUNK_OVERHEAD - 2)
    most = left + CHUNK_OVERHEAD - len(b"0;\r\n")
    made.payload = b"y" * count
    made.body = [line + CRLF, b"y", CRLF] * count
    made.body += [b"0;" + b"x" * (most + rng.choice((-1, 0, 1, 50))) + CRLF, CRLF]


def _long_body(rng: random.Random, made: Draft) -> None:
    more = rng.choice((1, 50))
    if made.is_chunked:
        first = rng.choice((0, 0, 1, MAX_BODY_SIZE))
        sizes = [first, MAX_BODY_SIZE + more - first] if first else [MAX_BODY_SIZE + more]
        made.body = [b"%x\r\n%b\r\n" % (size, bytes(size)) for size in sizes]
        made.body += [b"0" + CRLF, CRLF]
    else:
        made.body = [bytes(MAX_BODY_SIZE + more)]
        _replaced(b"Content-Length", (b"%d" % (MAX_BODY_SIZE + more),))(rng, made)


#: With how often each is chosen, beside the others.
SPOILS: Final[dict[str, tuple[int, Spoil]]] = {
    "request line": (2, _start),
    "version": (2, _version),
    "target": (3, _target),
    "method": (2, _method),
    "line end": (4, _line_end),
    "folded line": (2, _fold),
    "name": (4, _name),
    "byte": (4, _byte),
    "field twice": (4, _twice),
    "Host": (2, _replaced(b"Host", _ODD_HOSTS)),
    "Content-Length": (4, _length),
    "Transfer-Encoding": (3, _replaced(b"Transfer-Encoding", _ODD_CODINGS)),
    "Expect": (1, _replaced(b"Expect", (b"", b"x", b"100-continue, x", b"100", b"100-continue;a"))),
    "two framings": (3, _other_framing),
    "HTTP/1.0": (1, _old_version),
    "field missing": (1, _missing),
    "many fields": (1, _many_fields),
    "long head": (1, _long_head),
    "long body": (1, _long_body),
}

#: The same for chunked bodies only.
CHUNK_SPOILS: Final[dict[str, tuple[int, Spoil]]] = {
    "chunk size": (8, _size),
    "chunk end": (4, _chunk_end),
    "trailer": (8, _trailer),
    "many extensions": (1, _many_extensions),
}


def spoil(rng: random.Random, made: Draft) -> str:
    """Spoil a draft in a random way, and return which."""
    choices = CHUNK_SPOILS if made.is_chunked and rng.random() < 0.6 else SPOILS
    (name,) = rng.choices(list(choices), [weight for weight, _ in choices.values()])
    choices[name][1](rng, made)
    return name
