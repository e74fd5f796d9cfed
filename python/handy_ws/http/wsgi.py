"""`WsgiHandler`: Flask, Django, or any other WSGI application, as a handler (PEP 3333).

The application runs on a worker thread. Its answer goes out as that of any other handler does:
piece by piece, as fast as the client takes it, while no thread waits.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.wsgi import FileWrapper

from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.response import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import TypeAlias
    from wsgiref.types import WSGIApplication

    from handy_ws.http.context import HttpRequestContext

    ExcInfo: TypeAlias = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    )

__all__ = ["WsgiHandler"]


class WsgiHandler(HttpRequestHandler):
    """Passes requests on to a WSGI application.

    ::

        paths = PathHandler(fallback=WsgiHandler(app)).add("/chat", WebSocketHandler(Chat()))

    The environment has two entries of its own: ``handy_ws.server``, the `HttpServer`, by which a
    view can broadcast, and ``wsgi.file_wrapper``. The request body is whole before the application
    is called, and ends where ``wsgi.input`` ends, however it came.
    """

    def __init__(self, app: WSGIApplication, script_name: str = "") -> None:
        """Make the handler.

        Args:
            app: the application.
            script_name: the path below which it is mounted, such as ``/shop``: it becomes
                ``SCRIPT_NAME`` and is cut off ``PATH_INFO``. Other paths are answered with 404.

        Raises:
            TypeError: `app` cannot be called.
            ValueError: `script_name` does not begin with a slash, or ends in one.
        """
        if not callable(app):
            msg = f"a WSGI application must be callable, which {type(app).__name__} is not"
            raise TypeError(msg)
        if script_name and (not script_name.startswith("/") or script_name.endswith("/")):
            msg = f"script_name must begin with a slash and not end in one: {script_name!r}"
            raise ValueError(msg)
        self._app = app
        # As in every environment: the bytes of the path, each as a character.
        self._script_name = script_name.encode().decode("latin-1")

    def handle(self, context: HttpRequestContext) -> HttpResponse:
        """Call the application."""
        call = _Call()
        result = self._app(self._environ(context), call.start_response)
        try:
            return call.response(result)
        except BaseException:
            _close(result)
            raise

    def _environ(self, context: HttpRequestContext) -> dict[str, Any]:
        environ = context.request.environ.copy()
        environ["handy_ws.server"] = context.server
        environ["wsgi.file_wrapper"] = FileWrapper
        mount = self._script_name
        if mount:
            path = environ["PATH_INFO"]
            if path != mount and not path.startswith(mount + "/"):
                raise NotFound
            environ["SCRIPT_NAME"] = mount
            environ["PATH_INFO"] = path[len(mount) :]
        return environ


class _WsgiResponse(HttpResponse):
    """What the application says, and nothing that it does not say."""

    default_mimetype = None


class _Call:
    """One call of the application: what it has told so far."""

    def __init__(self) -> None:
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._is_sent = False
        self._written: list[bytes] = []

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        """Take status and header; again only to replace them because of an error."""
        error = exc_info[1] if exc_info else None
        if error is None and self._head is not None:
            raise RuntimeError("start_response was called before, and there is no exc_info")
        if error is not None and self._is_sent:
            try:
                raise error
            finally:
                del error, exc_info  # which would be a cycle
        self._head = (status, list(headers))
        return self._written.append

    def response(self, result: Iterable[bytes]) -> HttpResponse:
        """Return the response, once the application has said how it begins.

        It may call `start_response` as late as when its first part that is not empty is asked for.
        """
        parts = iter(result)
        begin = self._written or [next((part for part in parts if part), b"")]
        if self._head is None:
            raise RuntimeError("the application has not called start_response")
        if not all(isinstance(part, bytes) for part in begin):
            raise TypeError("the application has yielded or written something that is not bytes")
        status, headers = self._head
        body = _Body(chain(begin, parts), result)
        response = _WsgiResponse(body, status, Headers(headers), direct_passthrough=True)
        if isinstance(result, list | tuple) and len(result) == 1 and not self._written:
            # Its length is known (PEP 3333, "Handling the Content-Length Header").
            response.headers.setdefault("Content-Length", str(len(begin[0])))
        self._is_sent = True
        return response


class _Body:
    """The parts of a response, and what the application wants to be closed after them."""

    def __init__(self, parts: Iterator[bytes], result: Iterable[bytes]) -> None:
        self._parts = parts
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        _close(self._result)


def _close(result: Iterable[bytes]) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()
