"""Faults for our parser, as somebody might make them: each has to be noticed.

A mutant is a module of `handy_ws.http` with a few characters of its source replaced. Each makes the
parser take what it must refuse, or read something else than what was sent, in one way. What is
compiled cannot be changed so: a mutant of that is misled by what it gets, or does not tell the
truth about what it has read.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handy_ws.http import body, connection, head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is replaced in which module."""

    name: str
    module: ModuleType
    old: str  # stands in the source once
    new: str

    def __str__(self) -> str:
        """Return what it does."""
        return self.name


@contextlib.contextmanager
def alive(mutant: Mutant) -> Iterator[None]:
    """Have the module as the mutant has it, for the block."""
    source = inspect.getsource(mutant.module)
    assert source.count(mutant.old) == 1, (
        f"{mutant.module.__name__} has changed, and {mutant.old!r} is not there, or not once:"
        " write down in mutants.py what stands for it now"
    )
    namespace = vars(mutant.module)
    before = dict(namespace)
    code = compile(source.replace(mutant.old, mutant.new), str(mutant.module.__file__), "exec")
    try:
        exec(code, namespace)  # noqa: S102 - that is what it is for
        # What is raised is caught elsewhere under its own name.
        namespace.update({"BadRequest": before["BadRequest"]} if "BadRequest" in before else {})
        yield
    finally:
        namespace.clear()
        namespace.update(before)


# By their names, what is replaced by what.

_EMPTY_LINES: Final = "from handy_ws._core import empty_lines\n"

_BETWEEN: Final = {
    "empty lines are kept": (
        _EMPTY_LINES,
        "empty_lines = lambda buffer: 0\n",
    ),
    "a bare LF is an empty line": (
        _EMPTY_LINES,
        'empty_lines = lambda buffer: len(buffer) - len(buffer.lstrip(b"\\r\\n"))\n',
    ),
}

_IMPORT: Final = "from handy_ws._core import RequestHead, find_head_end, parse_head\n"


def _ending(end: str) -> tuple[str, str]:
    """Have the compiled `_end` of heads be asked, or believed, in another way."""
    return (
        _IMPORT,
        f"{_IMPORT}\n_end = find_head_end\nfind_head_end = lambda buffer, scanned, limit: {end}\n",
    )


_HEADS: Final = {
    "a mark that is cut is not found": _ending("_end(buffer, scanned and scanned + 3, limit)"),
    "heads may be a byte longer": _ending("_end(buffer, scanned, limit + 1)"),
    "the end mark belongs to what follows": _ending("max(0, _end(buffer, scanned, limit) - 2)"),
}


def _misreading(pattern: bytes, replacement: bytes) -> tuple[str, str]:
    """Have the compiled parser read something else than what is written."""
    return (
        _IMPORT,
        f"""{_IMPORT}
def parse_head(head, *limit, _really=parse_head):
    import re
    return _really(re.sub({pattern!r}, {replacement!r}, head), *limit)
""",
    )


def _telling(name: str, told: str) -> tuple[str, str]:
    """Have the compiled parser tell something else than what it has read in `head`."""
    return (
        _IMPORT,
        f"""{_IMPORT}
class Liar:
    def __init__(self, head):
        self._head = head
    def __getattr__(self, name):
        head = self._head
        return {told} if name == {name!r} else getattr(head, name)
def parse_head(head, *limit, _really=parse_head):
    return Liar(_really(head, *limit))
""",
    )


_PARSED: Final = {
    "fields are not counted": (
        _IMPORT,
        f"{_IMPORT}\n_really = parse_head\nparse_head = lambda head, n: _really(head, n + 1)\n",
    ),
    "lines without a colon": _misreading(rb"\r\n[^\r\n:]+(?=\r\n)", rb""),
    "white space before the colon": _misreading(rb"(\r\n[\w-]+)[ \t]+:", rb"\1:"),
    "folded lines": _misreading(rb"\r\n[ \t]+", rb" "),
    "control characters": _misreading(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", rb""),
    "bare LF": _misreading(rb"(?<!\r)\n", rb"\r\n"),
    "any white space": _misreading(rb"\A(\S+)[ \t]+(\S+)[ \t]+", rb"\1 \2 "),
    "version 1.2": _misreading(rb" HTTP/1\.2\r", rb" HTTP/1.1\r"),
    "version 2.0": _misreading(rb" HTTP/2\.0\r", rb" HTTP/1.1\r"),
    "the version is always 1.1": _telling("version", '"1.1"'),
    "methods in small letters": _misreading(rb"\A(?:get|post) ", rb"GET "),
    "fragments": _misreading(rb"\A([^#\r]*)#[^ \r]*", rb"\1"),
    "any scheme": _misreading(rb"\A(\S+ )(?!http)\w+://", rb"\1http://"),
    "* for all methods": _misreading(rb"\A\w+ \* ", rb"OPTIONS * "),
    "the field Host counts": _misreading(
        rb"(?is)\A(\S+ https?://)[^/? ]+(.*\r\nhost:[ \t]*)([^\r]*)", rb"\1\3\2\3"
    ),
    "any host in the target": _misreading(rb"\A(\S+ https?://)(?=[^/? ]*@)[^/? ]*", rb"\1a"),
    "any Host": _misreading(rb"(?i)(\r\nhost:[ \t]*\w+)[^\w.:\r-][^\r]*", rb"\1"),
    "no Host": _misreading(rb"(?is)\A(?!.*\r\nhost:)([^\r]*\r\n)", rb"\1Host: a\r\n"),
    "two hosts": _misreading(rb"(?is)(\r\nhost:[^\r]*)(.*?)\r\nhost:[^\r]*", rb"\1\2"),
    "two keys": _misreading(
        rb"(?is)(\r\nsec-websocket-key:[^\r]*)(.*?)\r\nsec-websocket-key:[^\r]*", rb"\1\2"
    ),
    "two framings": _misreading(
        rb"(?is)\r\ncontent-length:[^\r]*(?=.*\r\ntransfer-encoding:)", rb""
    ),
    "lengths with a sign": _misreading(rb"(?i)(\r\ncontent-length:[ \t]*)[+-]", rb"\1"),
    "a field that is repeated is lost": _telling("headers", "list(dict(head.headers).items())"),
    "names in capitals": _telling("headers", "[(name.title(), v) for name, v in head.headers]"),
    "values lose more than white space": _telling(
        "headers", "[(name, value.strip()) for name, value in head.headers]"
    ),
    "close is not heard": _telling("keeps_alive", 'head.get("connection") != "close"'),
    "keep-alive is not heard": _telling("keeps_alive", 'head.version == "1.1"'),
}

_BODIES: Final = {
    "HTTP/1.0 with chunks": (
        'if head.version == "1.0":',
        'if head.version == "0.9":',
    ),
    "codings that end with chunked": (
        'if coding.lower() != "chunked":',
        'if not coding.lower().endswith("chunked"):',
    ),
    "codings that begin with chunked": (
        'if coding.lower() != "chunked":',
        'if not coding.lower().startswith("chunked"):',
    ),
    "unknown codings have no body": (
        "raise _unknown_coding(head)",
        "return None",
    ),
    "numbers as Python has them": (
        "if not _LENGTH.fullmatch(length):",
        "if not length.lstrip('+').replace('_', '').isdigit():",
    ),
    "any number of zeros": (
        're.compile(r"[0-9]{1,20}")',
        're.compile(r"[0-9]+")',
    ),
    "bodies may be a byte longer": (
        "if size > limit:",
        "if size > limit + 1:",
    ),
    "a sized body ends a byte early": (
        "return SizedBody(size) if size else None",
        "return SizedBody(size - 1) if size > 1 else None",
    ),
    "a sized body takes what is behind it": (
        "bytes(data[taken:])",
        'b""',
    ),
    "sizes as Python has them": (
        "([0-9A-Fa-f]{{1,16}})",
        "([+-]?(?:0x)?[0-9A-Fa-f_]{{1,16}})",
    ),
    "white space before a size": (
        'rf"([0-9A-Fa-f]{{1,16}})',
        'rf"[ \\t]*([0-9A-Fa-f]{{1,16}})',
    ),
    "what is behind a size is ignored": (
        "(?:{_EXTENSION})*",
        ".*?",
    ),
    "sizes are decimal": (
        "int(match[1], 16)",
        "int(match[1], 10 if match[1].isdigit() else 16)",
    ),
    "sizes of many digits": (
        "{{1,16}}",
        "{{1,20}}",
    ),
    "lines end with LF": (
        'if line[-2:] != b"\\r\\n" or',
        'line = line.replace(b"\\r\\n", b"\\n").replace(b"\\n", b"\\r\\n")\n        if',
    ),
    "controls in chunk lines": (
        " or line[:-2].translate(None, NOT_CONTROL):",
        ":",
    ),
    "two bytes behind a chunk, whatever they are": (
        'if line != b"\\r\\n":\n                raise',
        "if len(line) > 4:\n                raise",
    ),
    "two bytes behind a whole chunk, whatever they are": (
        'data[end : end + 2] != b"\\r\\n"',
        "len(data) < end + 2",
    ),
    "whole chunks are not counted": (
        "self._announce(size, begin - at)",
        "pass",
    ),
    "whole chunks may have long lines": (
        " or begin - at > _MAX_LINE",
        "",
    ),
    "the last byte of a chunk is lost": (
        "pieces.append(view[at:end])",
        "pieces.append(view[at : end - (end - at > 16)])",
    ),
    "a body ends with its last chunk": (
        "self._part = _Part.DATA if self._left else _Part.TRAILER",
        "self._part = _Part.DATA if self._left else _Part.WHOLE",
    ),
    "one line of trailers": (
        "self._on_trailer(line[:-2])",
        "self._part = _Part.WHOLE",
    ),
    "any trailers": (
        "self._on_trailer(line[:-2])",
        "pass",
    ),
    "trailers may frame": (
        "if name.lower() in _NOT_IN_TRAILERS:",
        "if name in _NOT_IN_TRAILERS:",
    ),
    "trailers without end": (
        "self._trailers += len(line)",
        "self._trailers = len(line)",
    ),
    "extensions without end": (
        "self._overhead += length",
        "self._overhead = length",
    ),
    "lines may be a byte longer": (
        "if len(self._line) > _MAX_LINE:",
        "if len(self._line) > _MAX_LINE + 1:",
    ),
    "what is behind a chunked body is lost": (
        "return bytes(view[at:]) if",
        'return b"" if',
    ),
}

MUTANTS: Final = [
    Mutant(name, module, old, new)
    for module, faults in ((connection, _BETWEEN), (head, _HEADS), (head, _PARSED), (body, _BODIES))
    for name, (old, new) in faults.items()
]
