"""`FileHandler`: files of one directory over HTTP, and never any other file.

The ancestor is handy-httpd's `FileResolvingHandler`. A path is taken apart into segments, and
every segment that could mean anything but "the entry of that name" ends in 404; what remains is
resolved with all its links and must still be inside the directory. Every refusal looks the same,
so nobody learns what exists outside. Conditional and range requests are in `conditional.py`, what
a client accepts in `encodings.py`.

A file may have *neighbours*, the same content compressed before, which are named like it with
``.br``, ``.zst`` or ``.gz`` behind. A neighbour is nothing but what that longer path names, so all
that is said above holds for it as well. One that is older than its file is taken for a leftover of
an earlier version, and not used.

Limits, stated honestly: someone who may rename directories inside the served one while a request
is being resolved is trusted, and so is the content of neighbours.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from handy_ws.http.conditional import failed_precondition, wanted_range
from handy_ws.http.encodings import IDENTITY, SUFFIXES, accepted_codings
from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.open_file import OpenFile
from handy_ws.http.response import HttpResponse
from handy_ws.http.shortage import ShortageLog, is_shortage

if TYPE_CHECKING:
    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead

__all__ = ["FileHandler"]

_PATH_PARAM: Final = "path"
#: The largest time that caches have to understand: RFC 9111 section 1.2.2.
_MAX_AGE: Final = 2**31

#: Fixed, so that the same file has the same type on every machine (the system's mime.types
#: differs from one to the next). Anything else is bytes to be saved.
_CONTENT_TYPES: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".gz": "application/gzip",
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
    ".zst": "application/zstd",
}
_OTHER_TYPE: Final = "application/octet-stream"


class FileHandler(HttpRequestHandler):
    """Serves the files of a directory, with all that is below it.

    ::

        PathHandler().add("/static/<path:path>", FileHandler("static"))

    Below a `PathHandler` it serves what the rule's ``path`` parameter names; alone, what the
    request's path names. A directory is answered with its ``index.html``. Methods other than GET
    and HEAD get 405.

    werkzeug's ``<path:path>`` never matches an empty path. So let a handler that has a whole site,
    its front page included, be the fallback::

        PathHandler(fallback=FileHandler("site")).add("/chat", chat)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_age: int | None = None,
        precompressed: bool = True,
    ) -> None:
        """Make a handler for `directory`, which is resolved now.

        Args:
            directory: where the files are.
            max_age: for how many seconds a client may use a file without asking again, sent as
                Cache-Control (RFC 9111 section 5.2.2.1); None leaves that to the client.
            precompressed: whether ``app.js.br``, ``app.js.zst`` or ``app.js.gz`` is sent in the
                place of ``app.js`` to clients that accept it.

        Raises:
            NotADirectoryError: there is no such directory.
            ValueError: `max_age` is not an integer from 0 to 2147483648.
        """
        self._root = os.path.realpath(directory)
        self._shortage = ShortageLog("files cannot be opened for the moment: %s")
        if not os.path.isdir(self._root):
            msg = f"not a directory: {os.fspath(directory)!r}"
            raise NotADirectoryError(msg)
        self._fields = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}
        if max_age is not None:
            # A bool is an int to isinstance().
            if type(max_age) is not int or not 0 <= max_age <= _MAX_AGE:
                msg = f"max_age must be an integer from 0 to {_MAX_AGE}, or None, not {max_age!r}"
                raise ValueError(msg)
            self._fields["Cache-Control"] = f"max-age={max_age}"
        self._suffixes = SUFFIXES if precompressed else {}

    def handle(self, context: HttpRequestContext) -> HttpResponse:
        """Answer with a file, or say why not: 304, 404, 405, 406, 412, 416, or 503.

        A directory without its slash is answered with a redirect.
        """
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
                path += "index.html"
                name = self._resolve(path)
            file = None if name is None else OpenFile.open(name)
            if name is None or file is None:
                return HttpResponse("Not Found\n", 404)
            return self._answer(context.head, path, name, file)
        except OSError as error:
            if is_shortage(error):
                self._shortage.failed(error)
                return HttpResponse("Service Unavailable\n", 503)
            # Missing, unreadable, too long a name: all the same from outside.
            return HttpResponse("Not Found\n", 404)

    def _answer(self, head: RequestHead, path: str, name: str, file: OpenFile) -> HttpResponse:
        """Answer with a file or one of its neighbours. Closes them, or the response does."""
        extension = os.path.splitext(name)[1].lower()
        fields = {"Content-Type": _CONTENT_TYPES.get(extension, _OTHER_TYPE), **self._fields}
        try:
            neighbours = self._neighbours(path, file)
            if neighbours:
                fields["Vary"] = "Accept-Encoding"
            for coding in accepted_codings(head):
                if coding == IDENTITY:
                    return _respond(head, file, fields)
                neighbour = _open_neighbour(neighbours.get(coding), coding)
                if neighbour is not None:
                    file.close()
                    return _respond(head, neighbour, fields | {"Content-Encoding": coding})
        except BaseException:
            file.close()
            raise
        file.close()
        return HttpResponse("Not Acceptable\n", 406)

    def _neighbours(self, path: str, file: OpenFile) -> dict[str, str]:
        """Return the real names of the usable neighbours of the file at `path`, by coding."""
        found = {}
        for coding, suffix in self._suffixes.items():
            # Most files have none, which a stat tells at less cost than resolving the name.
            with suppress(OSError):
                status = os.stat(os.path.join(self._root, path + suffix))
                if stat.S_ISREG(status.st_mode) and not _is_older(status, file.modified):
                    name = self._resolve(path + suffix)
                    if name is not None:
                        found[coding] = name
        return found

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


def _redirect_to_slash(context: HttpRequestContext) -> HttpResponse:
    """Send the client to the name with the slash, or a page's relative links would be wrong."""
    # One slash at the start: two would name another host.
    target = "/" + quote(context.head.path.strip("/"), safe="/~!$&'()*+,;=:@") + "/"
    if context.head.query:
        target += "?" + context.head.query
    return HttpResponse(status=308, headers={"Location": target})


def _is_older(status: os.stat_result, modified: int) -> bool:
    """Say whether a file is older than what was modified at a time in nanoseconds."""
    if not status.st_mtime_ns % 10**9:
        # Some tools give what they make the time of what it is made of, in whole seconds only.
        modified -= modified % 10**9
    return status.st_mtime_ns < modified


def _open_neighbour(name: str | None, coding: str) -> OpenFile | None:
    """Open a neighbour; None if there is none, or none any more, or it may not be read.

    Raises:
        OSError: the system has nothing left to open it with.
    """
    try:
        return None if name is None else OpenFile.open(name, coding)
    except OSError as error:
        if is_shortage(error):
            raise
        return None


def _respond(head: RequestHead, file: OpenFile, fields: dict[str, str]) -> HttpResponse:
    """Answer with `file`, or with 206, 304, 412, 416 as the request asks for.

    Closes the file, or the response does.
    """
    etag, modified = file.validators
    fields |= {"ETag": f'"{etag}"', "Last-Modified": formatdate(modified, usegmt=True)}
    status = failed_precondition(head, file.validators)
    if status is not None:
        file.close()
        if status is HTTPStatus.NOT_MODIFIED:
            return HttpResponse(status=status, headers=fields)
        return HttpResponse("Precondition Failed\n", status)
    part = wanted_range(head, file.validators, file.length)
    if part is not None and not part:
        file.close()
        length = {"Content-Range": f"bytes */{file.length}"}
        return HttpResponse("Range Not Satisfiable\n", 416, length)
    if part is not None:
        file.part = part
        fields["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.length}"
    fields["Content-Length"] = str(len(file.part))
    return HttpResponse(file, 200 if part is None else 206, fields, direct_passthrough=True)
