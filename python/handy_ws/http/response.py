"""Responses: from werkzeug's `Response` to what is sent.

`Answers` renders heads and decides the framing (RFC 9112 section 6): Content-Length where the
length is known, chunked otherwise, and for HTTP/1.0 the end of the connection.

No header line is sent that is not exactly one line: a CR, LF or NUL in a name, a value or the
status raises before the first byte has left.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from werkzeug.wrappers import Response as HttpResponse

from handy_ws._core import render_head
from handy_ws.http.fields import WITHOUT_BODY, complete_fields, connection_options
from handy_ws.http.outgoing import Framing, Outgoing, Then

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead

__all__ = ["Answers", "BoundResponse", "HttpResponse"]

#: Fields that belong to the server, because they follow from the framing it chooses.
_OURS: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})


class BoundResponse(HttpResponse):
    """A response that belongs to the thread of its handler: no other makes its parts or closes it.

    Attributes:
        is_bound: False if any thread will do after all, as it does for other responses.
        has_begun: whether the first part of the body is there, and need not be waited for.
    """

    is_bound = True
    has_begun = False


class Answers:
    """Renders responses for one server."""

    def __init__(self, default_headers: Mapping[str, str]) -> None:
        """Make the renderer.

        Args:
            default_headers: fields for every response that does not set them itself.
        """
        self._defaults = {"server": ("Server", "handy_ws")}
        for name, value in default_headers.items():
            self._defaults[name.lower()] = (name, value)
        self._second = -1
        self._date = ""

    def upgrade(self, headers: Sequence[tuple[str, str]]) -> bytes:
        """Render a 101 response with exactly `headers`.

        Raises:
            ValueError: a name or value cannot be sent.
        """
        return render_head("101 Switching Protocols", headers)

    def error(self, status: int, reason: str, *, has_body: bool = True) -> Outgoing:
        """Make a whole response that ends the connection.

        Args:
            status: the status code.
            reason: its body, one line.
            has_body: False to leave the body out, as the answer to HEAD.
        """
        body = f"{reason}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        head = self._head(f"{status} {HTTPStatus(status).phrase}", headers, "close")
        return Outgoing(head, Then.LINGER, status, body if has_body else b"")

    def outgoing(
        self, context: HttpRequestContext, response: HttpResponse, *, keep_alive: bool
    ) -> Outgoing:
        """Turn a response into bytes to be sent.

        Args:
            context: the request that is answered.
            response: what the handler made of it.
            keep_alive: whether the connection may persist as far as the server is concerned.

        Raises:
            ValueError: a header field or the status cannot be sent.
        """
        head = context.head
        fields, values = complete_fields(context, response)
        headers = [field for field in fields if field[0].lower() not in _OURS]
        framing, length = _framing_of(response, head, values.get("content-length"))
        if framing is Framing.CHUNKED:
            headers.append(("Transfer-Encoding", "chunked"))
        options = connection_options(fields) if "connection" in values else set()
        if framing is Framing.UNTIL_CLOSE or "close" in options:
            keep_alive = False
        # A client that would have kept the connection may have sent more already.
        then = Then.KEEP_ALIVE if keep_alive else Then.LINGER if head.keeps_alive else Then.CLOSE
        options -= {"close", "keep-alive"}
        if not keep_alive:
            options |= {"close"}
        elif head.version == "1.0":
            options |= {"keep-alive"}
        status = response.status_code
        start = self._head(response.status, headers, ", ".join(sorted(options)))
        if framing is Framing.EMPTY:
            outgoing = Outgoing(start, then, status)
        elif framing is Framing.LENGTH and response.is_sequence:
            body = b"".join(response.iter_encoded())
            if len(body) != length:
                msg = f"the Content-Length is {length}, but the response has {len(body)} bytes"
                raise ValueError(msg)
            outgoing = Outgoing(start, then, status, body)
        else:
            outgoing = Outgoing(start, then, status)
            outgoing.add_body(_body_parts(response), framing, length)
            if isinstance(response, BoundResponse) and response.has_begun:
                outgoing.begin_body()
        return outgoing

    def _head(self, status: str, headers: list[tuple[str, str]], connection: str) -> bytes:
        present = {name.lower() for name, _ in headers}
        for lowered, field in self._defaults.items():
            if lowered not in present:
                headers.append(field)
        if "date" not in present:
            headers.append(("Date", self._now()))
        if connection:
            headers.append(("Connection", connection))
        return render_head(status, headers)

    def _now(self) -> str:
        """Return the time in the form of RFC 9110 section 5.6.7, formatted once a second."""
        now = int(time.time())
        if now != self._second:
            # In this order: another thread may see the new date a moment early, no harm done.
            self._date = formatdate(now, usegmt=True)
            self._second = now
        return self._date


def _framing_of(
    response: HttpResponse, head: RequestHead, content_length: str | None
) -> tuple[Framing, int]:
    status = response.status_code
    if status < 200:  # noqa: PLR2004
        msg = f"{response.status!r} is not the status of a final response"
        raise ValueError(msg)
    if head.method == "HEAD" or status in WITHOUT_BODY:
        return Framing.EMPTY, 0
    if content_length is not None:
        if not content_length.isascii() or not content_length.isdigit():
            msg = f"a response has the invalid Content-Length {content_length!r}"
            raise ValueError(msg)
        return Framing.LENGTH, int(content_length)
    return (Framing.CHUNKED if head.version == "1.1" else Framing.UNTIL_CLOSE), 0


def _body_parts(response: HttpResponse) -> Iterator[bytes]:
    if response.direct_passthrough:
        return iter(response.response)  # type: ignore[arg-type]
    return response.iter_encoded()
