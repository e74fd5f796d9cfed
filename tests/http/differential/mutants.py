"""Faults for our parser, as somebody might make them: each has to be noticed.

A mutant is a module of `handy_ws.http` with a few characters of its source replaced. Each makes the
parser take what it must refuse, or read something else than what was sent, in one way.
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

_BETWEEN: Final = {
    "empty lines are kept": (
        '== b"\\r\\n":',
        '== b"\\n\\r":',
    ),
    "a bare LF is an empty line": (
        'at : at + 2] == b"\\r\\n":\n            at += 2',
        'at : at + 1] in (b"\\r", b"\\n"):\n            at += 1',
    ),
}

_HEADS: Final = {
    "a mark that is cut is not found": (
        "max(0, scanned - 3)",
        "scanned",
    ),
    "heads may be a byte longer": (
        "if end <= limit:",
        "if end <= limit + 1:",
    ),
    "the end mark belongs to what follows": (
        "end += len(_HEAD_END)",
        "end += 2",
    ),
    "fields are not counted": (
        "if line_ends - 2 > max_header_count:",
        "if line_ends - 3 > max_header_count:",
    ),
    "whatever the parser says": (
        "if not fields.is_complete:",
        "if fields.refusal:",
    ),
    "any white space": (
        'parts = line.split(" ")',
        "parts = line.split()",
    ),
    "version 1.2": (
        'not in {"HTTP/1.1", "HTTP/1.0"}:',
        'not in {"HTTP/1.1", "HTTP/1.0", "HTTP/1.2"}:',
    ),
    "version 2.0": (
        'not in {"HTTP/1.1", "HTTP/1.0"}:',
        'not in {"HTTP/1.1", "HTTP/1.0", "HTTP/2.0"}:',
    ),
    "the version is always 1.1": (
        "return RequestHead(method, target, version[5:]), None\n\n\ndef _other",
        'return RequestHead(method, target, "1.1"), None\n\n\ndef _other',
    ),
    "unknown methods": (
        "HttpParserInvalidMethodError:\n        raise",
        "HttpParserInvalidMethodError:\n        pass\n    except ZeroDivisionError:\n        raise",
    ),
    "fragments": (
        ' or "#" in target',
        "",
    ),
    "any scheme": (
        ' or scheme.lower() not in {"http", "https"}',
        "",
    ),
    "* for all methods": (
        'if method != "OPTIONS":',
        'if method == "PURGE":',
    ),
    "the field Host counts": (
        "if authority is not None:",
        "if False:",
    ),
    "any host in the target": (
        "if not valid_authority(authority):",
        "if not authority:",
    ),
    "any Host": (
        "not valid_authority(host):",
        "not host:",
    ),
    "no Host": (
        'if host is None and head.version == "1.1":',
        'if host is None and head.version == "1.2":',
    ),
    "two hosts": (
        '{"host", "content-length"',
        '{"content-length"',
    ),
    "two keys": (
        '"sec-websocket-key", ',
        "",
    ),
    "a field that is repeated is lost": (
        "self._headers.append((lowered, text))",
        "dict(self._headers).get(lowered) or self._headers.append((lowered, text))",
    ),
    "names keep their case": (
        'name.decode("latin-1").lower()',
        'name.decode("latin-1")',
    ),
    "values lose more than white space": (
        '.decode("latin-1").strip(" \\t")',
        '.decode("latin-1").strip()',
    ),
    "values keep their white space": (
        '.decode("latin-1").strip(" \\t")',
        '.decode("latin-1").strip(" ")',
    ),
    "close is not heard": (
        'return not self.has_token("connection", "close")',
        'return self.get("connection") != "close"',
    ),
    "keep-alive is not heard": (
        'return self.has_token("connection", "keep-alive") and',
        "return False and",
    ),
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
    for module, faults in ((connection, _BETWEEN), (head, _HEADS), (body, _BODIES))
    for name, (old, new) in faults.items()
]
