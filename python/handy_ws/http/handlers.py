"""Handlers: the base class, and the one that chooses among others by path.

A handler is what a program writes. `HttpRequestHandler` and `PathHandler` are the concepts of
handy-httpd (there: `HttpRequestHandler`, `PathHandler.addMapping`); the rules are werkzeug's.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, TypeAlias

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect, Rule

from handy_ws.http.response import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from handy_ws._core import Gate
    from handy_ws.http.context import HttpRequestContext
    from handy_ws.http.head import RequestHead

__all__ = [
    "Handler",
    "HttpRequestHandler",
    "PathHandler",
    "gate_function",
    "handle_function",
    "streams_function",
]


class HttpRequestHandler:
    """Handles requests. Subclass it and override `handle`.

    Attributes:
        stream_body: whether `handle` is called before the request body has come, which it then
            reads from ``context.request.stream``. A read blocks until something has come. Without
            it, which is the default, the body is whole and no thread has waited for it.
    """

    stream_body: bool = False

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        """Handle one request. Runs on a worker thread, many at a time.

        An exception is logged and answered with 500; a werkzeug `HTTPException` is answered
        with the response that it stands for.

        Args:
            context: the request, and the response to fill.

        Returns:
            A response that replaces ``context.response``, or None to send that one.
        """
        raise NotImplementedError

    def streams_body(self, head: RequestHead) -> bool:
        """Say whether the body of that request is to be a stream; asked if it has a body at all.

        Override it in a handler that passes requests on to others, as `PathHandler` does.
        """
        del head
        return self.stream_body

    def gate(self, head: RequestHead) -> Gate | None:
        """Return the `Gate` that stands for `handle` at the path of a WebSocket handshake.

        That is for handlers that run no code of the program's for it, and cannot block. Then the
        acceptor may call `handle`, and the core may let other handshakes at that path in without
        it. None, the default: a worker has to call `handle`.
        """
        del head
        return None


#: werkzeug compiles rules by way of `ast`, which fails in CPython 3.11 when two threads use it at
#: the same time (python/cpython issue 106905). So this is one lock for all.
_compiling = threading.Lock()

#: What a program may give as a handler.
Handler: TypeAlias = "HttpRequestHandler | Callable[[HttpRequestContext], HttpResponse | None]"


def handle_function(handler: Handler) -> Callable[[HttpRequestContext], HttpResponse | None]:
    """Return the function that handles a request.

    Raises:
        TypeError: `handler` is neither an `HttpRequestHandler` nor callable.
    """
    if isinstance(handler, HttpRequestHandler):
        return handler.handle
    if callable(handler):
        return handler
    msg = f"a handler must be an HttpRequestHandler or a callable, not {type(handler).__name__}"
    raise TypeError(msg)


def streams_function(handler: Handler) -> Callable[[RequestHead], bool]:
    """Return the function that says whether a handler wants the body of a request as a stream."""
    return handler.streams_body if isinstance(handler, HttpRequestHandler) else _says_no


def gate_function(handler: Handler) -> Callable[[RequestHead], Gate | None]:
    """Return the function that returns the gate of a handler for a request."""
    return handler.gate if isinstance(handler, HttpRequestHandler) else _has_none


def _may_stream(handler: Handler) -> bool:
    """Say whether a handler has to be asked."""
    return isinstance(handler, HttpRequestHandler) and (
        handler.stream_body or type(handler).streams_body is not HttpRequestHandler.streams_body
    )


def _says_no(_: RequestHead) -> bool:
    return False


def _has_none(_: RequestHead) -> None:
    return None


class PathHandler(HttpRequestHandler):
    """Passes each request on to the handler whose rule matches its path.

    ::

        PathHandler().add("/users/<int:id>", show_user).add("/chat", WebSocketHandler(Chat()))

    Rules are those of `werkzeug.routing`: converters (``<int:id>``, ``<path:rest>``), and a
    redirect to the trailing slash where a rule ends in one. What a rule takes from the path is in
    ``context.request.path_params``. Without a match the answer is 404; with a match for other
    methods only it is 405 with ``Allow``. Handlers may be added at any time, from any thread.
    What no rule matches goes to the `fallback`, if there is one.

    A `PathHandler` below another one sees the whole path, too, and adds to its parameters.
    """

    def __init__(self, fallback: Handler | None = None) -> None:
        """Make one without rules.

        Args:
            fallback: handles the requests whose path no rule matches, such as a `WsgiHandler`;
                None answers them with 404.

        Raises:
            TypeError: the fallback is no handler.
        """
        fallback = _not_found if fallback is None else fallback
        self._handlers = [fallback]
        self._fallback = handle_function(fallback)
        self._fallback_streams_body = streams_function(fallback)
        self._entries: list[_Entry] = []
        self._static: dict[str, _Entry] = {}
        self._map: Map | None = None

    def add(self, rule: str, handler: Handler, methods: Iterable[str] | None = None) -> Self:
        """Add a rule.

        Args:
            rule: the path, with werkzeug's placeholders; begins with a slash.
            handler: handles the requests that match.
            methods: the methods that match (GET includes HEAD); None leaves the method to the
                handler.

        Returns:
            This handler, so that calls can be chained.

        Raises:
            TypeError: the handler is not one, or `methods` is a string.
            ValueError: the rule is malformed.
        """
        if isinstance(methods, str):
            msg = "methods must be a list of methods, not a string"
            raise TypeError(msg)
        entry = _Entry(rule, handler, methods)
        with _compiling:
            # Building a map checks the rule before it can do any harm.
            Map([entry.rule()])
            self._entries.append(entry)
            self._handlers.append(handler)
            self._map = None
            if "<" not in rule:
                # The first one wins, as it does in werkzeug's map.
                self._static.setdefault(rule, entry)
        return self

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        """Pass the request on."""
        head = context.head
        # A path without placeholders that matches exactly needs no map: nothing precedes it.
        entry = self._static.get(head.path)
        if entry is not None and entry.allows(head.method):
            return entry.handle(context)
        try:
            # A redirect shows scheme and host, as the client knows them.
            host = head.get("host") or "{}:{}".format(*context.source.local_address)
            entry, params = self._match(head, context.source.scheme, host)
        except NotFound:
            return self._fallback(context)
        except MethodNotAllowed as error:
            allow = ", ".join(sorted(error.valid_methods or ()))
            return HttpResponse("Method Not Allowed\n", 405, {"Allow": allow})
        except RequestRedirect as redirect:
            return redirect.get_response()
        if params:
            context.source.path_params = {**(context.source.path_params or {}), **params}
        return entry.handle(context)

    def streams_body(self, head: RequestHead) -> bool:
        """Ask the handler that the request will be passed on to."""
        # Most programs stream nothing, and need not find out twice which handler that is.
        if not any(map(_may_stream, self._handlers)):
            return False
        entry = self._static.get(head.path)
        if entry is None or not entry.allows(head.method):
            try:
                entry, _ = self._match(head, "http", head.get("host") or "localhost")
            except NotFound:
                return self._fallback_streams_body(head)
            except HTTPException:
                return False
        return entry.streams_body(head)

    def gate(self, head: RequestHead) -> Gate | None:
        """Ask the handler that the request will be passed on to, if that is found at once."""
        entry = self._static.get(head.path)
        if entry is None or not entry.allows(head.method):
            return None
        return entry.gate(head) if type(self).handle is PathHandler.handle else None

    def _match(self, head: RequestHead, scheme: str, host: str) -> tuple[_Entry, dict[str, object]]:
        """Find the entry for a request.

        Args:
            head: the request head.
            scheme: for redirects, which are the only ones to show it.
            host: the same.

        Raises:
            HTTPException: 404, 405, or a redirect.
        """
        rules = self._map
        if rules is None:
            with _compiling:
                rules = self._map = Map([entry.rule() for entry in self._entries])
        adapter = rules.bind(host, url_scheme=scheme, path_info=head.path, query_args=head.query)
        entry, params = adapter.match(method=head.method)
        return entry, dict(params)


def _not_found(_: HttpRequestContext) -> HttpResponse:
    return HttpResponse("Not Found\n", 404)


class _Entry:
    """A rule and its handler."""

    def __init__(self, rule: str, handler: Handler, methods: Iterable[str] | None) -> None:
        self.handle = handle_function(handler)
        self.streams_body = streams_function(handler)
        self.gate = gate_function(handler)
        self._rule = rule
        self._methods: frozenset[str] | None = None
        if methods is not None:
            names = {method.upper() for method in methods}
            self._methods = frozenset(names | {"HEAD"} if "GET" in names else names)

    def rule(self) -> Rule:
        """Return a new werkzeug rule; one rule can be in one map only."""
        return Rule(self._rule, endpoint=self, methods=self._methods)

    def allows(self, method: str) -> bool:
        return self._methods is None or method in self._methods
