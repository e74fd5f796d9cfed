"""The WSGI application that every HTTP server is measured with: a short text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["TEXT", "application"]

TEXT = b"Hello, world!\n"
_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(TEXT)))]


def application(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer every request with the text."""
    start_response("200 OK", _HEADERS[:])
    return [TEXT]
