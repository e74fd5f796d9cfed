"""The header fields of responses: completing them.

The core writes them down (`render_head`). No header line is sent that is not exactly one line: a
CR, LF or NUL in a name, a value or the status raises before the first byte has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from handy_ws.http.context import HttpRequestContext

__all__ = ["WITHOUT_BODY", "complete_fields", "connection_options"]

_RESET_CONTENT: Final = 205
#: Responses that never have a body: RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
WITHOUT_BODY: Final = frozenset({204, _RESET_CONTENT, 304})
#: Fields that werkzeug makes URIs of.
_REWRITTEN: Final = frozenset({"location", "content-location"})


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
