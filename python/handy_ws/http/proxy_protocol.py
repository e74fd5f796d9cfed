"""The PROXY protocol: how a proxy that knows nothing of HTTP tells for whom a connection is.

Before anything else, TLS included, such a proxy sends a header with the client's address. There is
a binary one (version 2) and a line of text (version 1), told apart by their first byte. Both are
described in "The PROXY protocol, versions 1 & 2" of the HAProxy project, to which the sections
below refer. Whether a connection begins with a header is never guessed (section 2): the caller
knows who has to send one.

The header may be cut anywhere. What is wrong with it is clear at the first wrong byte, as far as
that is possible, and the end of the connection. The fields behind the addresses (TLVs) are skipped.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from handy_ws.http.forwarded import unmapped

if TYPE_CHECKING:
    from handy_ws.http.forwarded import IpAddress

__all__ = ["Introduction", "ProxyProtocolError", "find_header_end", "read_header"]

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: The length of the fixed part of a binary header: signature, version and command, family and
#: transport, and the length of the rest.
_FIXED: Final = 16
_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_UNSPECIFIED_TRANSPORT, _, _DATAGRAM = range(3)
_ADDRESS_SIZES: Final = {_INET: 4, _INET6: 16}
_UNIX_SIZE: Final = 2 * 108

_TEXT_START: Final = b"PROXY "
_MAX_TEXT: Final = 107
_PORT = rb"(0|[1-9][0-9]{0,4})"
_TEXT = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*)?|TCP(?:"
    rb"(4) ([0-9.]+) ([0-9.]+)|(6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+)) %b %b)\r\n" % (_PORT, _PORT),
    re.DOTALL,
)
_MAX_PORT: Final = 65535


class ProxyProtocolError(Exception):
    """A proxy does not begin as it has to."""


class Introduction(NamedTuple):
    """What a header says."""

    address: tuple[str, int] | None
    """Host and port of the client; None if the proxy does not tell."""

    is_local: bool = False
    """Whether the proxy speaks for itself, as it does to see whether the server is well."""


def find_header_end(data: bytes | bytearray) -> int:
    """Return the length of the header at the start of `data`, or 0 while it is not all there.

    Args:
        data: all that has come so far, one byte at least.

    Raises:
        ProxyProtocolError: no header will come of it.
    """
    if data[0] == _SIGNATURE[0]:
        return _find_binary_end(data)
    if data[: len(_TEXT_START)] != _TEXT_START[: len(data)]:
        raise ProxyProtocolError("there is no PROXY protocol header")
    line_end = data.find(b"\r\n", 0, _MAX_TEXT)
    if line_end < 0 and len(data) >= _MAX_TEXT:
        raise ProxyProtocolError("the PROXY protocol line is too long")
    return line_end + 2 if line_end >= 0 else 0


def _find_binary_end(data: bytes | bytearray) -> int:
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise ProxyProtocolError("there is no PROXY protocol header")
    if len(data) > len(_SIGNATURE) and data[len(_SIGNATURE)] >> 4 != _VERSION:
        raise ProxyProtocolError("the version of the PROXY protocol is unknown")
    if len(data) < _FIXED:
        return 0
    end = _FIXED + int.from_bytes(data[_FIXED - 2 : _FIXED], "big")
    return end if len(data) >= end else 0


def read_header(header: bytes) -> Introduction:
    """Read a whole header, as `find_header_end` delimits it.

    Raises:
        ProxyProtocolError: it is malformed.
    """
    if header[0] == _SIGNATURE[0]:
        return _read_binary(header)
    return _read_text(header)


def _read_binary(header: bytes) -> Introduction:
    """Read a header of section 2.2."""
    command = header[12] & 0x0F
    if command == _LOCAL:
        return Introduction(None, is_local=True)
    family, transport = header[13] >> 4, header[13] & 0x0F
    if command != _PROXY or family > _UNIX or transport > _DATAGRAM:
        raise ProxyProtocolError("the PROXY protocol header has an unknown command or family")
    addresses = header[_FIXED:]
    if family == _UNSPECIFIED or transport == _UNSPECIFIED_TRANSPORT:
        return Introduction(None)
    size = _ADDRESS_SIZES.get(family, 0)
    if len(addresses) < (2 * size + 4 if size else _UNIX_SIZE):
        raise ProxyProtocolError("the PROXY protocol header is too short for its addresses")
    if family == _UNIX:
        # It is the path of a socket on the proxy's machine, if it is anything.
        return Introduction(None)
    # Source and destination, then the ports of both. Datagrams are what HTTP/3 comes in.
    port = int.from_bytes(addresses[2 * size : 2 * size + 2], "big")
    return Introduction((str(unmapped(ip_address(addresses[:size]))), port))


def _read_text(line: bytes) -> Introduction:
    """Read a header of section 2.1."""
    match = _TEXT.fullmatch(line)
    if match is None:
        raise ProxyProtocolError("the PROXY protocol line is malformed")
    if match[7] is None:
        return Introduction(None)
    addresses = match.group(2, 3) if match[1] else match.group(5, 6)
    kind: type[IpAddress] = IPv4Address if match[1] else IPv6Address
    try:
        source, _ = (unmapped(kind(address.decode())) for address in addresses)
    except ValueError:
        raise ProxyProtocolError("the PROXY protocol line has a malformed address") from None
    ports = [int(port) for port in match.group(7, 8)]
    if max(ports) > _MAX_PORT:
        raise ProxyProtocolError("the PROXY protocol line has a malformed port")
    return Introduction((str(source), ports[0]))
