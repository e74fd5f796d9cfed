"""The alphabets of HTTP: which characters a name, a value and a host may consist of.

RFC 9110 section 5.6.2 defines a token, section 5.6.4 a quoted string, section 5.5 a field value;
RFC 3986 section 3.2.2 a host. Everything here looks at a string once, from C, so that its cost is
linear and small, and the few strings that come with every request (names of header fields, the
host) are remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

__all__ = [
    "NOT_CONTROL",
    "QUOTED",
    "TOKEN",
    "is_field_value",
    "is_protocol",
    "is_token",
    "valid_authority",
]

#: Every byte that may stand inside a line of a head: all but the controls, TAB allowed.
NOT_CONTROL: Final = b"\t" + bytes(byte for byte in range(ord(" "), 256) if byte != ord("\x7f"))

#: A token, as a regular expression.
TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - not of that kind

#: What stands between the quotes of a quoted string, the same way. Nothing in it is tried twice.
QUOTED: Final = r"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"

_MAX_AUTHORITY = 253 + len(":65535")
_TOKEN = re.compile(TOKEN)
_PROTOCOL = re.compile(rf"{TOKEN}(?:/{TOKEN})?")
_REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
_AUTHORITY = re.compile(rf"(?:{_REG_NAME}|\[([0-9A-Fa-f:.]{{2,45}})\])(?::([0-9]{{0,5}}))?")
_MAX_PORT = 65535


def is_token(text: str) -> bool:
    """Say whether `text` is a token: a method, or the name of a header field."""
    return _TOKEN.fullmatch(text) is not None


def is_protocol(text: str) -> bool:
    """Say whether `text` may be a member of the Upgrade field: RFC 9110 section 7.8."""
    return _PROTOCOL.fullmatch(text) is not None


def valid_authority(text: str) -> bool:
    """Say whether `text` is a host with an optional port, as the Host field must be."""
    # A DNS name has at most 253 characters. The limit also bounds what the memory below holds.
    return len(text) <= _MAX_AUTHORITY and _known_authority(text)


@lru_cache(maxsize=256)
def _known_authority(text: str) -> bool:
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        return False
    address, port = parts.groups(default="")
    return (not address or _is_ipv6(address)) and int(port or 0) <= _MAX_PORT


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_field_value(text: str) -> bool:
    """Say whether `text` may be sent as a field value: latin-1 without control characters."""
    try:
        return not text.encode("latin-1").translate(None, NOT_CONTROL)
    except UnicodeEncodeError:
        return False
