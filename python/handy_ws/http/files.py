"""`FileHandler`: files of one directory over HTTP, and never any other file.

The ancestor is handy-httpd's `FileResolvingHandler`. A path is taken apart into segments, and
every segment that could mean anything but "the entry of that name" ends in 404; what remains is
resolved with all its links and must still be inside the directory. Every refusal looks the same,
so nobody learns what exists outside. Conditional requests (RFC 9110 section 13) and ranges (section
14) are werkzeug's.

Limits, stated honestly: someone who may rename directories inside the served one while a request
is being resolved is trusted.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper

from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.response import HttpResponse
from handy_ws.http.shortage import ShortageLog, is_shortage

if TYPE_CHECKING:
    from handy_ws.http.context import HttpRequestContext

__all__ = ["FileHandler"]

_BLOCK: Final = 64 * 1024
_PATH_PARAM: Final = "path"

#: Fixed, so that the same file has the same type on every machine (the system's mime.types
#: differs from one to the next). Anything else is bytes to be saved.
_CONTENT_TYPES: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".zip": "application/zip",
}
_OTHER_TYPE: Final = "application/octet-stream"


class FileHandler(HttpRequestHandler):
    """Serves the files of a directory, with all that is below it.

    ::

        PathHandler().add("/static/<path:path>", FileHandler("static"))

    Below a `PathHandler` it serves what the rule's ``path`` parameter names; alone, what the
    request's path names. A directory is answered with its ``index.html``. Methods other than GET
    and HEAD get 405.

    werkzeug's ``<path:path>`` never matches an empty path. So a handler that has a whole site
    below a `PathHandler`, its front page included, needs two rules::

        files = FileHandler("static")
        PathHandler().add("/chat", chat).add("/", files).add("/<path:path>", files)
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Make a handler for `directory`, which is resolved now.

        Raises:
            NotADirectoryError: there is no such directory.
        """
        self._root = os.path.realpath(directory)
        self._shortage = ShortageLog("files cannot be opened for the moment: %s")
        if not os.path.isdir(self._root):
            msg = f"not a directory: {os.fspath(directory)!r}"
            raise NotADirectoryError(msg)

    def handle(self, context: HttpRequestContext) -> HttpResponse:
        """Answer with a file, a redirect to a directory's slash, 404, 405 or 503."""
        if context.head.method not in {"GET", "HEAD"}:
            return HttpResponse("Method Not Allowed\n", 405, {"Allow": "GET, HEAD"})
        params = context.source.path_params or {}
        path = str(params.get(_PATH_PARAM, context.head.path[1:]))
        try:
            name = self._resolve(path)
            is_directory = name is not None and os.path.isdir(name)
            if is_directory and path and not path.endswith("/"):
                return _redirect_to_slash(context)
            if is_directory or path.endswith("/"):
                name = self._resolve(path + "index.html")
            file = None if name is None else _open(name)
        except OSError as error:
            if is_shortage(error):
                self._shortage.failed(error)
                return HttpResponse("Service Unavailable\n", 503)
            # Missing, unreadable, too long a name: all the same from outside.
            file = None
        if file is None:
            return HttpResponse("Not Found\n", 404)
        extension = os.path.splitext(name or "")[1].lower()
        return _respond(context, file, _CONTENT_TYPES.get(extension, _OTHER_TYPE))

    def _resolve(self, path: str) -> str | None:
        """Return the real name of the file that `path` means, or None if there is none inside."""
        segments = path.split("/")
        if segments[-1] == "":
            # The slash after a directory.
            segments.pop()
        for segment in segments:
            # Backslashes and drives are for machines on which they separate; NUL ends a C string.
            if segment in {"", ".", ".."} or not segment.isprintable() or set(segment) & set("\\:"):
                return None
        name = os.path.realpath(os.path.join(self._root, *segments))
        inside = name == self._root or name.startswith(os.path.join(self._root, ""))
        return name if inside else None


def _open(name: str) -> IO[bytes] | None:
    """Open a regular file; None for anything else, without waiting for the far end of a pipe."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    file = open(os.open(name, flags), "rb", buffering=0)  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    return None


def _redirect_to_slash(context: HttpRequestContext) -> HttpResponse:
    """Send the client to the name with the slash, or a page's relative links would be wrong."""
    # One slash at the start: two would name another host.
    target = "/" + quote(context.head.path.strip("/"), safe="/~!$&'()*+,;=:@") + "/"
    if context.head.query:
        target += "?" + context.head.query
    return HttpResponse(status=308, headers={"Location": target})


def _respond(context: HttpRequestContext, file: IO[bytes], content_type: str) -> HttpResponse:
    """Answer with `file`, or 304, 206, 416 as the request asks for. The response closes it."""
    status = os.fstat(file.fileno())
    response = HttpResponse(
        FileWrapper(file, _BLOCK),
        content_type=content_type,
        direct_passthrough=True,
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.content_length = status.st_size
    response.last_modified = datetime.fromtimestamp(status.st_mtime, UTC)
    response.set_etag(f"{status.st_mtime_ns:x}-{status.st_size:x}")
    try:
        response.make_conditional(
            context.request.environ, accept_ranges=True, complete_length=status.st_size
        )
    except RequestedRangeNotSatisfiable:
        response.close()
        return HttpResponse(
            "Range Not Satisfiable\n", 416, {"Content-Range": f"bytes */{status.st_size}"}
        )
    return response
