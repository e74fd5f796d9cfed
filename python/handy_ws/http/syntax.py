"""The alphabets of HTTP: which characters a name and a value may consist of.

RFC 9110 section 5.6.2 defines a token, section 5.6.4 a quoted string, section 5.5 a field value.
Everything here looks at a string once, from C, so that its cost is linear and small. Request heads
are checked by the core, which has alphabets of its own.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "NOT_CONTROL",
    "QUOTED",
    "TOKEN",
    "is_field_value",
    "is_token",
]

#: Every byte that may stand inside a line of a head: all but the controls, TAB allowed.
NOT_CONTROL: Final = b"\t" + bytes(byte for byte in range(ord(" "), 256) if byte != ord("\x7f"))

#: A token, as a regular expression.
TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - not of that kind

#: What stands between the quotes of a quoted string, the same way. Nothing in it is tried twice.
QUOTED: Final = r"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"

_TOKEN = re.compile(TOKEN)


def is_token(text: str) -> bool:
    """Say whether `text` is a token: a method, or the name of a header field."""
    return _TOKEN.fullmatch(text) is not None


def is_field_value(text: str) -> bool:
    """Say whether `text` may be sent as a field value: latin-1 without control characters."""
    try:
        return not text.encode("latin-1").translate(None, NOT_CONTROL)
    except UnicodeEncodeError:
        return False
