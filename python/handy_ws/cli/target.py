"""What is to be served: from ``package.module:server`` to an `HttpServer`.

The module is imported as a program would import it. What is found there may be a server, a handler
or a WSGI application, or with ``--factory`` a function that makes one of them. A handler and a WSGI
application are told apart by the number of their arguments.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handy_ws.config import ServerConfig
from handy_ws.http.handlers import HttpRequestHandler
from handy_ws.http.server import HttpServer
from handy_ws.http.wsgi import WsgiHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws.http.handlers import Handler

__all__ = ["ProgramError", "TargetError", "find_target", "make_server"]

_WSGI_ARGUMENTS = 2  # environ, start_response
_ASGI_ARGUMENTS = 3  # scope, receive, send


class TargetError(Exception):
    """The target is not what it should be; the message says why, in one line."""


class ProgramError(Exception):
    """The program has raised an exception, which is the cause, when it was imported or called."""


def find_target(target: str, *, factory: bool = False) -> object:
    """Import a target.

    Args:
        target: the name of a module, a colon, and the name of an attribute in it.
        factory: whether that is to be called, without arguments, to get what is meant.

    Raises:
        TargetError: there is no such thing.
        ProgramError: it is there, but fails.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise TargetError(f"{target!r} must be a module and a name in it, such as 'chat:server'")
    if "/" in module_name or module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise TargetError(f"{module_name!r} is a file; write the module, '{dotted}:{attribute}'")
    if not all(module_name.split(".")):
        raise TargetError(f"{module_name!r} is no module's name")
    found = _import(module_name)
    for name in attribute.split("."):
        found = _attribute(found, name, module_name)
    if not factory:
        return found
    if not callable(found):
        raise TargetError(f"{target!r} is no factory: {type(found).__name__} cannot be called")
    return _run(found)


def make_server(
    found: object, configure: Callable[[ServerConfig], ServerConfig], *, wsgi: bool = False
) -> HttpServer:
    """Make a server of what a target is, or take it as it is.

    Args:
        found: what `find_target` has returned.
        configure: returns the config to use, given that of the program or the default one.
        wsgi: whether it is a WSGI application, without looking.

    Raises:
        TargetError: it is nothing that can be served.
        Exception: what `configure` raises.
    """
    if isinstance(found, HttpServer) and not wsgi:
        config = configure(found.config)
        try:
            found.config = config
        except RuntimeError:
            raise TargetError("it is running already; the program must not start it") from None
        return found
    return HttpServer(_handler(found, wsgi=wsgi), configure(ServerConfig()))


def _import(name: str) -> object:
    # As `python -m` does, and other servers do: the program is in the current directory.
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return _run(lambda: import_module(name))
    except ProgramError as error:
        cause = error.__cause__
        # The module itself, or a package that it is in: not another one that it imports.
        if isinstance(cause, ModuleNotFoundError) and f"{name}.".startswith(f"{cause.name}."):
            raise TargetError(f"there is no module {cause.name!r} in {directory!r}") from None
        raise


def _attribute(found: object, name: str, module_name: str) -> object:
    try:
        return getattr(found, name)
    except AttributeError:
        similar = get_close_matches(name, vars(found) if hasattr(found, "__dict__") else ())
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        raise TargetError(f"there is no {name!r} in {module_name!r}{hint}") from None


def _run(function: Callable[[], object]) -> object:
    """Call a function of the program.

    Raises:
        ProgramError: it has failed. The traceback of the cause begins in the program.
    """
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever a program may raise
        raise ProgramError from _without_our_frames(error)


def _without_our_frames(error: Exception) -> Exception:
    traceback = error.__traceback__
    while traceback is not None and _is_ours(traceback.tb_frame.f_globals.get("__name__", "")):
        traceback = traceback.tb_next
    return error.with_traceback(traceback)


def _is_ours(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "importlib"


def _handler(found: object, *, wsgi: bool) -> Handler:
    """Return the handler that a target is or stands for.

    Raises:
        TargetError: it is none.
    """
    if isinstance(found, HttpRequestHandler) and not wsgi:
        return found
    kind = type(found).__name__
    if isinstance(found, type):
        raise TargetError(f"{found.__name__} is a class; serve an object, or say --factory")
    if not callable(found):
        raise TargetError(f"it is {kind}: no server, no handler and no WSGI application")
    if wsgi:
        return WsgiHandler(found)
    if inspect.iscoroutinefunction(found):
        raise TargetError("it is a coroutine function; handlers are functions, run by threads")
    counts = _accepted_counts(found)
    if _WSGI_ARGUMENTS in counts and 1 not in counts:
        return WsgiHandler(found)
    if 1 in counts and 0 not in counts:
        return found
    if counts == {0}:
        raise TargetError("it takes no argument; if it makes what is to be served, say --factory")
    if counts == {_ASGI_ARGUMENTS}:
        raise TargetError("it takes three arguments, as ASGI applications do; WSGI ones are served")
    raise TargetError(
        "it takes neither one argument, as a handler does, nor two, as a WSGI application does;"
        " if it is one, say --wsgi; if it makes what is to be served, say --factory"
    )


def _accepted_counts(function: Callable[..., Any]) -> set[int]:
    """Return how many positional arguments a function accepts, of the counts that matter."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of those written in C have none
        return set()
    counts = set()
    for count in range(_ASGI_ARGUMENTS + 1):
        with suppress(TypeError):
            signature.bind(*[None] * count)
            counts.add(count)
    return counts
