"""Whom a request comes from when a proxy has passed it on.

The peer of the connection is the proxy then, and what a connection tells of its client comes in
header fields. Anybody can send those. So they are read only if the peer is one of
`ServerConfig.trusted_proxies`, and of all that there are only those that
`ServerConfig.forwarded_headers` names: a proxy passes on the fields that it does not set itself,
as the client has written them.

``X-Forwarded-For`` and ``Forwarded`` (RFC 7239) are lists that grow to the right, since each proxy
adds the peer that it got the request from. They are read from the right for as long as the proxies
that speak are trusted ones. The first address that is none of theirs is the client, and what it has
written to the left of that is not looked at. ``X-Forwarded-Proto``, ``-Host`` and ``-Port`` have
one value; if there are several, the last one counts, which is that of the nearest proxy.

Where a trusted proxy writes nonsense, nobody knows whose request it is: it is answered with 400.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from handy_ws._core import is_authority
from handy_ws.http.head import BadRequest
from handy_ws.http.syntax import QUOTED, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handy_ws.config import ServerConfig
    from handy_ws.http.head import RequestHead, RequestSource

__all__ = ["IpAddress", "TrustedProxies", "checked_headers", "checked_proxies", "unmapped"]

IpAddress: TypeAlias = "IPv4Address | IPv6Address"

_FOR: Final = "x-forwarded-for"
_PROTO: Final = "x-forwarded-proto"
_HOST: Final = "x-forwarded-host"
_PORT: Final = "x-forwarded-port"
_FORWARDED: Final = "forwarded"

_UNIX: Final = "unix"

_MAX_PORT: Final = 65535
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
#: What proxies call the scheme of a request. Some tell those of WebSockets apart.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_PORT_NUMBER = re.compile(r"[0-9]{1,5}")
# A node of RFC 7239 section 6: an address, "unknown" or a made-up name, and perhaps a port.
_NAME = r"_[\w.\-]+"
_NODE = re.compile(
    rf"(?:\[([0-9a-f:.]+)\]|([0-9.]+)|(unknown|{_NAME}))(?::(?:([0-9]{{1,5}})|{_NAME}))?",
    re.ASCII | re.IGNORECASE,
)
# A pair of RFC 7239 section 4, or none, and what separates it from the next one. The quantifiers
# are possessive, so that nothing is tried twice.
_PAIR = re.compile(rf'[ \t]*+(?:({TOKEN})=(?:({TOKEN})|"({QUOTED})"))?[ \t]*+([,;]|\Z)')
_QUOTED_PAIR = re.compile(r"\\(.)")


class TrustedProxies:
    """The proxies whose word is taken, and the fields that they give it in."""

    def __init__(self, proxies: Collection[str], headers: Iterable[str]) -> None:
        """Make them of what `ServerConfig` has checked.

        Args:
            proxies: addresses and networks, and perhaps ``"unix"``.
            headers: the names of the fields, in any case.
        """
        self._networks = [ip_network(proxy) for proxy in proxies if proxy != _UNIX]
        self._trusts_unix = _UNIX in proxies
        self._headers = {name.lower() for name in headers}

    @classmethod
    def of(cls, config: ServerConfig) -> TrustedProxies | None:
        """Return those that `config` names, or None for none."""
        if not config.trusted_proxies:
            return None
        return cls(config.trusted_proxies, config.forwarded_headers)

    def trust(self, host: str) -> bool:
        """Say whether the peer of a connection is one of them."""
        try:
            return self._contain(ip_address(host))
        except ValueError:
            # The peers of a unix socket have no address.
            return self._trusts_unix

    def apply(self, source: RequestSource, head: RequestHead) -> RequestHead:
        """Have a request come from where the proxy says: client, scheme and host.

        Args:
            source: the request's, with what is known from the connection.
            head: the request's head.

        Returns:
            The head, with the host that the client has asked for.

        Raises:
            BadRequest: 400, a field is malformed.
        """
        if _FORWARDED in self._headers:
            host = self._apply_forwarded(source, head)
        else:
            host = self._apply_x_forwarded(source, head)
        if host is None:
            return head
        source.host = host
        return head.with_host(host)

    def _apply_x_forwarded(self, source: RequestSource, head: RequestHead) -> str | None:
        """Set client and scheme; return the host if that is another one."""
        if _FOR in self._headers:
            for text in reversed(head.members(_FOR)):
                # IPv6 addresses come with and, as here, without brackets.
                is_bare = text.count(":") > 1 and not text.startswith("[")
                source.remote_address, address = _node(f"[{text}]" if is_bare else text, _FOR)
                if address is None or not self._contain(address):
                    break
        proto = self._last_member(head, _PROTO)
        if proto is not None:
            source.scheme = _scheme(proto, _PROTO)
        host = self._last_member(head, _HOST)
        if host is not None:
            _check_host(host, _HOST)
        port = self._last_member(head, _PORT)
        if port is not None:
            if not _PORT_NUMBER.fullmatch(port) or not 0 < int(port) <= _MAX_PORT:
                raise _malformed(_PORT)
            host = host or head.get("host")
            host = None if host is None else _with_port(host, port, source.scheme)
        return host

    def _last_member(self, head: RequestHead, name: str) -> str | None:
        members = head.members(name) if name in self._headers else None
        return members[-1] if members else None

    def _apply_forwarded(self, source: RequestSource, head: RequestHead) -> str | None:
        """Set client and scheme; return the host if that is another one."""
        host = None
        for element in reversed(_elements(", ".join(head.get_all(_FORWARDED)))):
            if "proto" in element:
                source.scheme = _scheme(element["proto"], _FORWARDED)
            if "host" in element:
                host = element["host"]
                _check_host(host, _FORWARDED)
            if "for" not in element:
                break
            source.remote_address, address = _node(element["for"], _FORWARDED)
            if address is None or not self._contain(address):
                break
        return host

    def _contain(self, address: IpAddress) -> bool:
        address = unmapped(address)
        return any(address in network for network in self._networks)


def checked_proxies(value: Any) -> tuple[str, ...]:
    """Return the value of `ServerConfig.trusted_proxies` if it is one.

    Raises:
        ValueError: what it must be.
    """
    proxies = _strings(value)
    for proxy in proxies:
        try:
            if proxy != _UNIX:
                ip_network(proxy)
        except ValueError as error:
            msg = f"must be addresses, networks, or {_UNIX!r} ({error})"
            raise ValueError(msg) from None
    return proxies


def checked_headers(value: Any) -> tuple[str, ...]:
    """Return the value of `ServerConfig.forwarded_headers` if it is one.

    Raises:
        ValueError: what it must be.
    """
    headers = _strings(value)
    names = {name.lower() for name in headers}
    if not names <= {_FOR, _PROTO, _HOST, _PORT, _FORWARDED}:
        raise ValueError("must be 'Forwarded', or some of the X-Forwarded- fields")
    if _FORWARDED in names and len(names) > 1:
        # Which of two fields a proxy has written, and which a client, cannot be told.
        raise ValueError("must not have 'Forwarded' beside others")
    return headers


def _strings(value: Any) -> tuple[str, ...]:
    is_collection = isinstance(value, Collection) and not isinstance(value, str | bytes)
    if not is_collection or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a sequence of strings")
    return tuple(value)


def _malformed(field: str) -> BadRequest:
    return BadRequest(400, f"the field {field}, set by a proxy, is malformed")


def unmapped(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 address may stand for: RFC 4291 section 2.5.5.2."""
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _node(text: str, field: str) -> tuple[tuple[str, int], IpAddress | None]:
    """Read a node: RFC 7239 section 6.

    Returns:
        Its host and port, 0 for none; and its address, None if it has only a name.
    """
    match = _NODE.fullmatch(text)
    if match is None:
        raise _malformed(field)
    ipv6, ipv4, name, port = match.groups("")
    if int(port or "0") > _MAX_PORT:
        raise _malformed(field)
    if name:
        return (name, int(port or "0")), None
    try:
        address = unmapped(IPv6Address(ipv6) if ipv6 else IPv4Address(ipv4))
    except ValueError:
        raise _malformed(field) from None
    return (str(address), int(port or "0")), address


def _scheme(proto: str, field: str) -> str:
    scheme = _SCHEMES.get(proto.lower())
    if scheme is None:
        raise _malformed(field)
    return scheme


def _check_host(host: str, field: str) -> None:
    if not is_authority(host):
        raise _malformed(field)


def _with_port(host: str, port: str, scheme: str) -> str:
    """Return the authority for that host and port: without a port, if it is the scheme's own."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name if port == _DEFAULT_PORTS[scheme] else f"{name}:{port}"


def _elements(value: str) -> list[dict[str, str]]:
    """Read a whole ``Forwarded`` field: RFC 7239 section 4.

    A quoted string may contain commas, so this one cannot be read from the right. Whatever is
    wrong with it anywhere may be an attempt to hide what a proxy has added.
    """
    elements: list[dict[str, str]] = [{}]
    at, separator = 0, ","
    while separator:
        match = _PAIR.match(value, at)
        if match is None:
            raise _malformed(_FORWARDED)
        at = match.end()
        name, token, quoted, separator = match.groups()
        if name is not None:
            name = name.lower()
            if name in elements[-1]:
                raise _malformed(_FORWARDED)
            elements[-1][name] = token or _QUOTED_PAIR.sub(r"\1", quoted)
        if separator == ",":
            elements.append({})
    return [element for element in elements if element]
