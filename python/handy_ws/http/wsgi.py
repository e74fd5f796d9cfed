"""`WsgiHandler`: Flask, Django, or any other WSGI application, as a handler (PEP 3333).

The application runs on a worker thread, and so does all that it leaves to be done: its answer is
asked for part by part, as fast as the client takes it, and closed, on the thread that has called
it and serves nothing else meanwhile. Contexts and database connections of applications rely on
that. Only real files are sent without their help, by any thread.

What it says is checked when it says it, in `start_response`, so that its own traceback shows the
fault.
"""

from __future__ import annotations

import io
import re
from collections import deque
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from wsgiref.util import is_hop_by_hop

from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.wsgi import FileWrapper

from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.response import BoundResponse, HttpResponse
from handy_ws.http.syntax import is_field_value, is_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import IO, TypeAlias
    from wsgiref.types import WSGIApplication

    from handy_ws.http.context import HttpRequestContext

    ExcInfo: TypeAlias = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    )

__all__ = ["WsgiHandler"]

#: A final status and perhaps a phrase: PEP 3333, "The start_response() Callable".
_STATUS: Final = re.compile(r"[2-9][0-9]{2}(?: [\t -~\x80-\xff]*)?")
#: Statuses whose responses have no content, and whose Content-Length says nothing (RFC 9110
#: section 8.6) or is about another response.
_WITHOUT_BODY: Final = frozenset({204, 304})
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
#: The least that is read of a file at a time. The block size that applications ask for is a
#: suggestion, and Django's, 4 KiB, costs more in calls than in reading.
_FILE_BLOCK: Final = 64 * 1024


class WsgiHandler(HttpRequestHandler):
    """Passes requests on to a WSGI application.

    ::

        paths = PathHandler(fallback=WsgiHandler(app)).add("/chat", WebSocketHandler(Chat()))

    The environment has two entries of its own: ``handy_ws.server``, the `HttpServer`, by which a
    view can broadcast, and ``wsgi.file_wrapper``. The request body is whole before the application
    is called, and ends where ``wsgi.input`` ends, however it came; ``CONTENT_LENGTH`` is its
    length. What `start_response` is given is checked: a header field that PEP 3333 leaves to the
    server, such as ``Connection``, raises `ValueError`.

    All of one call happens on one thread, which takes no other request until the last part of the
    response is made and ``close()`` has been called. A client that takes the response slowly may
    keep that thread waiting; then another worker works in its place, see
    ``ServerConfig.spare_workers``.
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
        call = _Call(context.head.method)
        result = self._app(self._environ(context), call.start_response)
        try:
            return call.response(result)
        except BaseException:
            _close(result)
            raise

    def _environ(self, context: HttpRequestContext) -> dict[str, Any]:
        environ = context.environ()
        environ["handy_ws.server"] = context.server
        environ["wsgi.file_wrapper"] = _FileWrapper
        if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
            # Its chunks have been put together, and whoever reads by length has to know it.
            body = environ["wsgi.input"]
            body.seek(0, io.SEEK_END)
            environ["CONTENT_LENGTH"] = str(body.tell())
            body.seek(0)
        mount = self._script_name
        if mount:
            path = environ["PATH_INFO"]
            if path != mount and not path.startswith(mount + "/"):
                raise NotFound
            environ["SCRIPT_NAME"] = mount
            environ["PATH_INFO"] = path[len(mount) :]
        return environ


class _Call:
    """One call of the application: what it has told so far."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._has_begun = False
        self._written: deque[bytes] = deque()

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
        if error is not None and self._has_begun:
            try:
                raise error
            finally:
                del error, exc_info  # which would be a cycle
        headers = list(headers)
        _check_head(status, headers)
        self._head = (status, headers)
        return self._write

    def response(self, result: Iterable[bytes]) -> HttpResponse:
        """Return the response, once the application has said how it begins.

        It may call `start_response` as late as when its first part that is not empty is asked for.
        """
        parts = self._parts(result)
        is_whole = isinstance(result, list | tuple)
        begin = list(parts) if is_whole else [part for part in (next(parts, b""),) if part]
        if self._head is None:
            raise RuntimeError("the application has not called start_response")
        self._has_begun = True
        status, headers = self._head
        response = _WsgiResponse(
            begin if is_whole else _Body(chain(begin, parts), result),
            status,
            Headers(headers),
            direct_passthrough=True,
        )
        response.is_bound = not _is_file(result)
        response.has_begun = True
        size = sum(map(len, begin))
        if is_whole and (size or self._method != "HEAD"):
            # Its length is known (PEP 3333, "Handling the Content-Length Header"). Many
            # applications answer HEAD without a body, which says nothing about that of GET.
            response.headers.setdefault("Content-Length", str(size))
        return response

    def _parts(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is written and what is yielded, in order, and no empty parts."""
        for part in result:
            _check_part(part)
            yield from self._take_written()
            if part:
                yield part
        yield from self._take_written()

    def _write(self, data: bytes) -> None:
        """Be what `start_response` returns. What is written goes out before what is yielded."""
        _check_part(data)
        if data:
            self._has_begun = True
            self._written.append(data)

    def _take_written(self) -> Iterator[bytes]:
        while self._written:
            yield self._written.popleft()


class _WsgiResponse(BoundResponse):
    """What the application says, and nothing that it does not say."""

    default_mimetype = None
    automatically_set_content_length = False

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the header fields as they are; werkzeug would improve some."""
        del environ
        if self.status_code in _WITHOUT_BODY:
            self.headers.remove("Content-Length")
        return self.headers


class _Body:
    """The parts of a response, and what the application wants to be closed after them."""

    def __init__(self, parts: Iterator[bytes], result: Iterable[bytes]) -> None:
        self._parts = parts
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        _close(self._result)


class _FileWrapper(FileWrapper):
    """What ``wsgi.file_wrapper`` is: an iterator over the blocks of a file."""

    def __init__(self, file: IO[bytes], block_size: int = _FILE_BLOCK) -> None:
        super().__init__(file, max(block_size, _FILE_BLOCK))


def _is_file(result: object) -> bool:
    """Say whether nothing but a real file makes the response, so that any thread may read it."""
    return isinstance(result, _FileWrapper) and isinstance(
        result.file, io.FileIO | io.BufferedReader | io.BytesIO
    )


def _check_head(status: str, headers: list[tuple[str, str]]) -> None:
    """Check what `start_response` was given: PEP 3333, "The start_response() Callable".

    Raises:
        TypeError: something is no string.
        ValueError: something cannot be sent, or is not for applications to send.
    """
    if not isinstance(status, str):
        msg = f"the status must be a string, not {type(status).__name__}"
        raise TypeError(msg)
    if not _STATUS.fullmatch(status):
        msg = f"{status!r} is not the status of a final response, such as '200 OK'"
        raise ValueError(msg)
    lengths = 0
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            msg = f"the header field {name!r}: {value!r} does not consist of strings"
            raise TypeError(msg)
        is_length = _checked_name(name) == "content-length"
        lengths += is_length
        if not is_field_value(value) or (is_length and not _LENGTH.fullmatch(value)):
            msg = f"the header field {name} has the invalid value {value!r}"
            raise ValueError(msg)
    if lengths > 1:
        raise ValueError("there is more than one Content-Length")


@lru_cache(maxsize=256)
def _checked_name(name: str) -> str:
    """Return the name of a header field in lower case; raise ValueError if it may not be sent."""
    if not is_token(name):
        msg = f"{name!r} is not the name of a header field"
        raise ValueError(msg)
    if is_hop_by_hop(name):
        msg = f"the header field {name} is the server's affair (PEP 3333, 'Other HTTP Features')"
        raise ValueError(msg)
    return name.lower()


def _check_part(part: object) -> None:
    if not isinstance(part, bytes):
        msg = f"the application has yielded or written {type(part).__name__} instead of bytes"
        raise TypeError(msg)


def _close(result: Iterable[bytes]) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()
