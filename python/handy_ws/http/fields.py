"""The header fields of responses: completing them, and writing them down.

No header line is sent that is not exactly one line: a CR, LF or NUL in a name, a value or the
status raises before the first byte has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from werkzeug.wrappers import Response

from handy_ws.http.syntax import is_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handy_ws.http.context import HttpRequestContext

__all__ = ["WITHOUT_BODY", "complete_fields", "connection_options", "render"]

_RESET_CONTENT: Final = 205
#: Responses that never have a body: RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
WITHOUT_BODY: Final = frozenset({204, _RESET_CONTENT, 304})
#: Fields that werkzeug makes URIs of.
_REWRITTEN: Final = frozenset({"location", "content-location"})
#: Names that need no check because they are in every other response.
_KNOWN: Final = frozenset(
    {
        "Connection",
        "Content-Length",
        "Content-Type",
        "Date",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "Server",
        "Upgrade",
    }
)


def complete_fields(
    context: HttpRequestContext, response: Response
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the header fields as werkzeug completes them for a WSGI server.

    werkzeug makes a copy and changes that, which takes longer than all the rest of a short
    response. So it is not asked where it would change nothing.

    Returns:
        The fields, and their values by name in lower case.
    """
    fields = list(response.headers)
    values = {name.lower(): value for name, value in fields}
    status = response.status_code
    if (
        "content-length" not in values
        or not _REWRITTEN.isdisjoint(values)
        or status in WITHOUT_BODY
        or type(response).get_wsgi_headers is not Response.get_wsgi_headers
    ):
        # It looks at the request for one thing only, which is off by default.
        environ = context.request.environ if response.autocorrect_location_header else {}
        completed = response.get_wsgi_headers(environ)
        if status == _RESET_CONTENT:
            completed["Content-Length"] = "0"
        fields = list(completed)
        values = {name.lower(): value for name, value in fields}
    return fields, values


def connection_options(fields: list[tuple[str, str]]) -> set[str]:
    """Return the members of the Connection field, in lower case: RFC 9110 section 7.6.1."""
    values = [value.lower() for name, value in fields if name.lower() == "connection"]
    return {option.strip() for value in values for option in value.split(",")} - {""}


def render(status: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """Render a head, and make sure that every field is one line and one field."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = f"HTTP/1.1 {status}\r\n" + "".join(lines)
    count = len(lines) + 1
    # Each of our lines has one CR and one LF; any more were smuggled in.
    if text.count("\r") != count or text.count("\n") != count or "\0" in text:
        raise ValueError("a header field of a response contains CR, LF or NUL")
    for name, _ in headers:
        if name not in _KNOWN and not is_token(name):
            msg = f"a response has the invalid header name {name!r}"
            raise ValueError(msg)
    # latin-1 may raise UnicodeEncodeError, which is a ValueError.
    return (text + "\r\n").encode("latin-1")
