"""Opening handshakes that another server has read: from bytes, or from a WSGI environment.

An environment (PEP 3333) is written down as a head again, and then read like any other: so no rule
of `parse_head` and of `WebSocketHandler` is lost. Two things are not in it any more. Fields that
came twice are one, joined by a comma; where that would hide something the comma is refused. And
header names are in capitals, with underscores.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from handy_ws.http.head import BadRequest, RequestSource, parse_head
from handy_ws.http.syntax import is_field_value, is_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedIOBase

    from handy_ws.http.head import RequestHead
    from handy_ws.http.request import HttpRequest

__all__ = ["ForeignOpening", "opening_from_bytes", "opening_from_environ"]

#: Fields that may come once only, and in whose values a comma makes no sense.
_SINGLE: Final = (
    "HTTP_HOST",
    "HTTP_ORIGIN",
    "HTTP_SEC_WEBSOCKET_KEY",
    "HTTP_SEC_WEBSOCKET_VERSION",
)
#: What RFC 3986 section 3.3 lets stand in a path as it is, beside letters, digits and ``_.-~``.
_PATH: Final = "/:@!$&'()*+,;="


class ForeignOpening:
    """An opening handshake, as `WebSocketHandler` looks at it.

    Attributes:
        head: the request head.
        source: what `WebSocketConnection.request` is made of.
    """

    def __init__(self, head: RequestHead, source: RequestSource) -> None:
        """Keep both.

        Raises:
            BadRequest: the request has a body, which no handshake has.
        """
        self.head = head
        self.source = source
        is_chunked = head.get("transfer-encoding") is not None
        if is_chunked or head.get("content-length") not in {None, "0"}:
            raise BadRequest(400, "a WebSocket handshake has no body")

    @cached_property
    def request(self) -> HttpRequest:
        """The request."""
        return self.source.request(self.head)


def opening_from_bytes(
    head: bytes, remote_address: tuple[str, int], local_address: tuple[str, int]
) -> ForeignOpening:
    """Read a request head, up to and with the empty line.

    Raises:
        BadRequest: it is none that can be served.
    """
    if not head.endswith(b"\r\n\r\n"):
        raise BadRequest(400, "the request head is not whole")
    return ForeignOpening(parse_head(head), RequestSource(head, remote_address, local_address))


def opening_from_environ(
    environ: Mapping[str, Any],
    path_params: Mapping[str, Any] | None = None,
    user: Any = None,
) -> ForeignOpening:
    """Read the environment of a WSGI application.

    Args:
        environ: as PEP 3333 has it.
        path_params: what `HttpRequest.path_params` is to have.
        user: what `HttpRequest.user` is to be.

    Raises:
        BadRequest: it cannot have been a request that can be served.
    """
    lines = [_request_line(environ), *_field_lines(environ)]
    if not all(map(is_field_value, lines)):
        raise BadRequest(400, "the request head has a control character")
    head_bytes = "\r\n".join([*lines, "", ""]).encode("latin-1")
    head = parse_head(head_bytes)
    source = _EnvironSource(head_bytes, head, environ)
    source.path_params = None if path_params is None else dict(path_params)
    source.user = user
    return ForeignOpening(head, source)


class _EnvironSource(RequestSource):
    """Makes requests with the texts that an environment had: ``SCRIPT_NAME``, ``REMOTE_USER``...

    Only those are kept that do not follow from the head.
    """

    __slots__ = ("_texts",)

    def __init__(self, head_bytes: bytes, head: RequestHead, environ: Mapping[str, Any]) -> None:
        """Keep what is needed, and nothing of the server's."""
        remote = (environ.get("REMOTE_ADDR", ""), _port(environ.get("REMOTE_PORT")))
        local = (environ.get("SERVER_NAME", ""), _port(environ.get("SERVER_PORT")))
        super().__init__(head_bytes, remote, local)
        if environ.get("wsgi.url_scheme") == "https":
            self.scheme = "https"
        made = super().environ(head)
        self._texts = tuple(
            (key, value)
            for key, value in environ.items()
            if isinstance(value, str) and made.get(key) != value
        )

    def environ(
        self, head: RequestHead | None = None, body: BufferedIOBase | None = None
    ) -> dict[str, Any]:
        """Make the environ, with those texts."""
        return {**super().environ(head, body), **dict(self._texts)}


def _request_line(environ: Mapping[str, Any]) -> str:
    # Both servers tell the target as it came; PEP 3333 has only its decoded parts.
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not target:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        query = environ.get("QUERY_STRING", "")
        target = quote(path.encode("latin-1", "replace"), safe=_PATH) or "/"
        target += query and f"?{query}"
    return f"{environ['REQUEST_METHOD']} {target} {environ['SERVER_PROTOCOL']}"


def _field_lines(environ: Mapping[str, Any]) -> Iterator[str]:
    for key in _SINGLE:
        if "," in environ.get(key, ""):
            raise BadRequest(400, f"the field {_field_name(key)} may come only once")
    for key, value in environ.items():
        name = _field_name(key)
        # An empty CONTENT_LENGTH is none: PEP 3333, "environ Variables".
        if name is not None and (value or key.startswith("HTTP_")):
            if not is_token(name):
                raise BadRequest(400, "a field has an illegal name")
            yield f"{name}: {value}"


def _field_name(key: str) -> str | None:
    if key.startswith("HTTP_"):
        return key[5:].replace("_", "-").title()
    return {"CONTENT_TYPE": "Content-Type", "CONTENT_LENGTH": "Content-Length"}.get(key)


def _port(value: object) -> int:
    text = str(value)  # werkzeug's is a number
    return int(text) if text.isascii() and text.isdigit() else 0
