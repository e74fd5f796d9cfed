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
from typing import TYPE_CHECKING, Any, Final
from wsgiref.util import is_hop_by_hop

from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.wsgi import FileWrapper

from handy_ws.http.fields import WITHOUT_BODY
from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.outgoing import NotYet
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
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
#: The least that is read of a file at a time. The block size that applications ask for is a
#: suggestion, and Django's, 4 KiB, costs more in calls than in reading.
_FILE_BLOCK: Final = 64 * 1024
_END: Final[Any] = object()


class WsgiHandler(HttpRequestHandler):
    """Passes requests on to a WSGI application.

    ::

        paths = PathHandler(fallback=WsgiHandler(app)).add("/chat", WebSocketHandler(Chat()))

    The environment has two entries of its own: ``handy_ws.server``, the `HttpServer`, by which a
    view can broadcast, and ``wsgi.file_wrapper``. The request body is whole before the application
    is called, unless `stream_body` says otherwise. It ends where ``wsgi.input`` ends, however it
    came; if it is whole, ``CONTENT_LENGTH`` is its length. What `start_response` is given is
    checked: a header field that PEP 3333 leaves to the server, such as ``Connection``, raises
    `ValueError`.

    All of one call happens on one thread, which takes no other request until the last part of the
    response is made and ``close()`` has been called. A client that takes the response slowly may
    keep that thread waiting, and so may one that sends a streamed body slowly; then another worker
    works in its place, see ``ServerConfig.spare_workers``.
    """

    def __init__(
        self, app: WSGIApplication, script_name: str = "", *, stream_body: bool = False
    ) -> None:
        """Make the handler.

        Args:
            app: the application.
            script_name: the path below which it is mounted, such as ``/shop``: it becomes
                ``SCRIPT_NAME`` and is cut off ``PATH_INFO``. Other paths are answered with 404.
            stream_body: whether the application is called before the request body has come, and
                waits for it when it reads ``wsgi.input``.

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
        self.stream_body = stream_body
        # As in every environment: the bytes of the path, each as a character.
        self._script_name = script_name.encode().decode("latin-1")

    def handle(self, context: HttpRequestContext) -> HttpResponse:
        """Call the application."""
        call = _Call(context)
        result = self._app(self._environ(context), call.start_response)
        try:
            return call.response(result)
        except BaseException:
            call.body.close()
            raise

    def _environ(self, context: HttpRequestContext) -> dict[str, Any]:
        environ = context.environ()
        environ["handy_ws.server"] = context.server
        environ["wsgi.file_wrapper"] = _FileWrapper
        is_chunked = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
        if is_chunked and environ["wsgi.input"].seekable():
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

    def __init__(self, context: HttpRequestContext) -> None:
        self._context = context
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._has_begun = False
        self._is_shown = True  # whether the client gets to see the body
        self._response: _WsgiResponse | None = None  # there if `write` has begun to send it
        self.body = _Body()

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
        self._is_shown = self._context.head.method != "HEAD" and int(status[:3]) not in WITHOUT_BODY
        return self._write

    def response(self, result: Iterable[bytes]) -> HttpResponse:
        """Return the response, once the application has said how it begins.

        It may call `start_response` as late as when its first part that is not empty is asked for.
        """
        body = self.body
        body.follow(result)
        if self._response is not None:
            return self._response
        whole = list(body) if isinstance(result, list | tuple) else None
        if whole is None:
            body.look_ahead()
        self._has_begun = True
        response = self._make(body if whole is None else whole)
        response.is_bound = not _is_file(result)
        if whole is not None and (whole or self._context.head.method != "HEAD"):
            # Its length is known (PEP 3333, "Handling the Content-Length Header"). Many
            # applications answer HEAD without a body, which says nothing about that of GET.
            response.headers.setdefault("Content-Length", str(sum(map(len, whole))))
        return response

    def _make(self, body: Iterable[bytes]) -> _WsgiResponse:
        if self._head is None:
            raise RuntimeError("the application has not called start_response")
        status, headers = self._head
        return _WsgiResponse(body, status, Headers(headers), direct_passthrough=True)

    def _write(self, data: bytes) -> None:
        """Be what `start_response` returns: send this, or put it in front of what is yielded next.

        Raises:
            TypeError: that is not bytes.
            ValueError: that is more than Content-Length says.
            PeerGone: the client has left, or takes too little.
        """
        _check_part(data)
        if not data:
            return
        self._has_begun = True
        self.body.write(data)
        if self.body.has_result or not self._is_shown:
            return
        if self._response is None:
            self._response = self._make(self.body)
        self._context.send_now(self._response)
        if self.body.has_written:
            raise ValueError("the application has written more than its Content-Length")


class _Body:
    """The parts of a response: first what is written, then what the application has returned."""

    def __init__(self) -> None:
        self._written: deque[bytes] = deque()
        self._result: Iterable[bytes] | None = None
        self._yielded: Iterator[bytes] | None = None

    @property
    def has_written(self) -> bool:
        return bool(self._written)

    @property
    def has_result(self) -> bool:
        return self._result is not None

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def follow(self, result: Iterable[bytes]) -> None:
        """Say what comes after what is written so far."""
        self._result = result
        self._yielded = iter(result)

    def look_ahead(self) -> None:
        """Have the first part made."""
        first = next(self, b"")
        if first:
            self._written.appendleft(first)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next part that is not empty.

        Raises:
            NotYet: the application has not returned yet.
        """
        while not self._written:
            if self._yielded is None:
                raise NotYet
            part = next(self._yielded, _END)
            if part is not _END:
                _check_part(part)
                if part:
                    self._written.append(part)  # behind what was written while it was made
            elif not self._written:
                raise StopIteration
        return self._written.popleft()

    def close(self) -> None:
        """Close what the application has returned, once."""
        result, self._result, self._yielded = self._result, None, None
        close = getattr(result, "close", None)
        if close is not None:
            close()


class _WsgiResponse(BoundResponse):
    """What the application says, and nothing that it does not say."""

    has_begun = True
    default_mimetype = None
    automatically_set_content_length = False

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the header fields as they are; werkzeug would improve some."""
        del environ
        if self.status_code in WITHOUT_BODY:
            self.headers.remove("Content-Length")
        return self.headers


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
