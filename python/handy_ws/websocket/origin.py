"""Which web pages may connect (RFC 6454, RFC 6455 section 10.2).

A browser lets any page open a WebSocket to any server, with the cookies of that server: only the
server can refuse, by the ``Origin`` header that the page cannot change. The default therefore
allows the server's own pages only. Origins are compared part by part, never as prefixes or
suffixes: ``http://good.com.evil.com`` is not ``http://good.com``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OriginPolicy"]

#: The longest origin that is remembered: a DNS name has at most 253 characters.
_MAX_KNOWN: Final = len("https://") + 253 + len(":65535")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host, port; scheme and host in lower case."""


class OriginPolicy:
    """Decides on the value of an ``Origin`` header.

    Raises:
        ValueError: an allowed origin is none, or has a scheme other than http and https.
    """

    __slots__ = ("_allow_all", "_allowed")

    def __init__(self, allowed: str | Iterable[str]) -> None:
        self._allow_all = allowed == "*"
        self._allowed: frozenset[Origin] | None = None  # None: the same origin only
        if allowed in ("*", "same-origin"):
            return
        origins = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        parsed = {origin: parse_origin(origin) for origin in origins}
        for origin, parts in parsed.items():
            if parts is None:
                message = f"allowed_origins: {origin!r} is no origin such as 'https://example.com'"
                raise ValueError(message)
        self._allowed = frozenset(parts for parts in parsed.values() if parts is not None)

    def allows(self, origin: str, host: str, scheme: str = "http") -> bool:
        """Whether a page of this origin may connect to the server.

        Args:
            origin: the value of the Origin header.
            host: the value of the Host header.
            scheme: ``"https"`` if the client speaks TLS, so that no other page can be ours.
        """
        if self._allow_all:
            return True
        parts = parse_origin(origin)
        if parts is None:  # also "null", which any sandboxed page sends
            return False
        if self._allowed is not None:
            return parts in self._allowed
        if scheme == "http":
            # A proxy in front may have taken the TLS off, so we believe the page. Without a port,
            # Host means the default port of the scheme that it was loaded by.
            scheme = parts[0]
        return parts == parse_origin(f"{scheme}://{host}")


def parse_origin(origin: str) -> Origin | None:
    """Split an origin (RFC 6454 section 6.2) into its parts, or return ``None`` if it is none."""
    # A server meets the same few over and over. The limit bounds what the memory holds.
    return _known_origin(origin) if len(origin) <= _MAX_KNOWN else _split_origin(origin)


def _split_origin(origin: str) -> Origin | None:
    scheme, separator, authority = origin.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS or not authority.isascii():
        return None
    if any(character in authority for character in "/?#@\\ \t"):
        return None
    try:
        parts = urlsplit(f"//{authority}")
        port = parts.port
    except ValueError:  # brackets that do not match, or no port number
        return None
    if not parts.hostname:
        return None
    return scheme, parts.hostname, _DEFAULT_PORTS[scheme] if port is None else port


_known_origin = lru_cache(maxsize=256)(_split_origin)
