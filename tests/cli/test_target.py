"""What is to be served: found, understood, or refused with a reason."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import FileHandler, HttpServer, ServerConfig, WebSocketConfig, WsgiHandler
from handy_ws.cli.target import ProgramError, TargetError, find_target, make_server
from handy_ws.http.handlers import handle_function

if TYPE_CHECKING:
    from tests.cli.conftest import Modules

PROGRAM = """
from handy_ws import FileHandler, HttpServer, ServerConfig

server = HttpServer(FileHandler("."), ServerConfig(workers=3))


class Holder:
    server = server


def make():
    return server


def fail():
    raise ValueError("no luck")
"""


def same(config: ServerConfig) -> ServerConfig:
    return config


# Found


@pytest.mark.parametrize("target", ["program:server", "program:Holder.server"])
def test_a_name_is_found(modules: Modules, target: str) -> None:
    modules({"program.py": PROGRAM})
    assert isinstance(find_target(target), HttpServer)


def test_a_module_of_a_package_is_found(modules: Modules) -> None:
    modules({"shop/__init__.py": "", "shop/web.py": PROGRAM})
    assert isinstance(find_target("shop.web:server"), HttpServer)


def test_the_current_directory_comes_first(modules: Modules) -> None:
    modules({"program.py": PROGRAM})
    sys.path[:] = [path for path in sys.path if path not in {"", str(Path.cwd())}]
    find_target("program:server")
    assert sys.path[0] == str(Path.cwd())
    find_target("program:server")
    assert sys.path.count(str(Path.cwd())) == 1


def test_a_factory_is_called(modules: Modules) -> None:
    modules({"program.py": PROGRAM})
    assert isinstance(find_target("program:make", factory=True), HttpServer)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("program", "'program' must be a module and a name in it, such as 'chat:server'"),
        ("program:", "'program:' must be a module and a name in it, such as 'chat:server'"),
        (":server", "':server' must be a module and a name in it, such as 'chat:server'"),
        ("", "'' must be a module and a name in it, such as 'chat:server'"),
        ("program.py:server", "'program.py' is a file; write the module, 'program:server'"),
        ("./shop/web.py:app", "'./shop/web.py' is a file; write the module, 'shop.web:app'"),
        ("shop/web:app", "'shop/web' is a file; write the module, 'shop.web:app'"),
        ("programm:server", "there is no module 'programm' in '{directory}'"),
        ("shop.app:server", "there is no module 'shop.app' in '{directory}'"),
        ("missing.app:server", "there is no module 'missing' in '{directory}'"),
        ("program.app:server", "there is no module 'program.app' in '{directory}'"),
        ("program:servr", "there is no 'servr' in 'program'; did you mean 'server'?"),
        ("program:xyz", "there is no 'xyz' in 'program'"),
        ("program:Holder.xyz", "there is no 'xyz' in 'program'"),
        ("program:server:x", "there is no 'server:x' in 'program'; did you mean 'server'?"),
        ("program:.server", "there is no '' in 'program'"),
        ("..program:server", "'..program' is no module's name"),
        (".program:server", "'.program' is no module's name"),
    ],
)
def test_what_is_not_there(modules: Modules, target: str, reason: str) -> None:
    modules({"program.py": PROGRAM, "shop/__init__.py": ""})
    with pytest.raises(TargetError) as error:
        find_target(target)
    assert str(error.value) == reason.format(directory=Path.cwd())


def test_what_is_no_factory(modules: Modules) -> None:
    modules({"program.py": PROGRAM})
    with pytest.raises(TargetError, match="'program:server' is no factory: HttpServer cannot be"):
        find_target("program:server", factory=True)


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("import nothing_of_that_name", ModuleNotFoundError, "No module named 'nothing_of_that"),
        ("import program.inner", ModuleNotFoundError, "No module named 'program.inner'"),
        ("from handy_ws import Nothing", ImportError, "cannot import name 'Nothing'"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("server = (", SyntaxError, "was never closed"),
    ],
)
def test_what_fails_inside_is_the_programs_failure(
    modules: Modules, source: str, kind: type[Exception], message: str
) -> None:
    modules({"program.py": source})
    with pytest.raises(ProgramError) as error:
        find_target("program:server")
    cause = error.value.__cause__
    assert isinstance(cause, kind)
    assert message in str(cause)
    traceback = cause.__traceback__
    if kind is SyntaxError:
        assert traceback is None
    else:
        assert traceback is not None
        assert traceback.tb_frame.f_globals["__name__"] == "program"


def test_a_factory_that_fails_is_the_programs_failure(modules: Modules) -> None:
    modules({"program.py": PROGRAM})
    with pytest.raises(ProgramError) as error:
        find_target("program:fail", factory=True)
    assert isinstance(error.value.__cause__, ValueError)
    assert error.value.__cause__.__traceback__ is not None
    assert error.value.__cause__.__traceback__.tb_frame.f_code.co_name == "fail"


# Understood


class Application:
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        raise NotImplementedError

    def handle(self, context: object) -> None: ...

    async def later(self, context: object) -> None: ...

    def asgi(self, scope: object, receive: object, send: object) -> None: ...

    def four(self, a: object, b: object, c: object, d: object) -> None: ...

    def none(self) -> None: ...

    def one_or_none(self, config: object = None) -> None: ...

    def any(self, *arguments: object) -> None: ...

    def context_and_more(self, context: object, more: object = None) -> None: ...

    def context_and_any(self, context: object, *more: object) -> None: ...


APP = Application()
UNCLEAR = (
    "it takes neither one argument, as a handler does, nor two, as a WSGI application does; if it"
    " is one, say --wsgi; if it makes what is to be served, say --factory"
)


def two(environ: object, start_response: object) -> list[bytes]:
    raise NotImplementedError


def handler_of(server: HttpServer) -> Any:
    return handle_function(server._handler)


@pytest.mark.parametrize("found", [APP, APP.__call__, two])
def test_two_arguments_are_those_of_a_wsgi_application(found: Any) -> None:
    handler = handler_of(make_server(found, same))
    assert isinstance(handler.__self__, WsgiHandler)
    assert handler.__self__._app == found


@pytest.mark.parametrize("found", [APP.handle, APP.context_and_more, APP.context_and_any])
def test_one_argument_is_that_of_a_handler(found: Any) -> None:
    assert handler_of(make_server(found, same)) == found


def test_a_handler_is_one(tmp_path: Path) -> None:
    found = FileHandler(tmp_path)
    assert handler_of(make_server(found, same)) == found.handle


@pytest.mark.parametrize("found", [APP, APP.any, APP.one_or_none, APP.handle, dict])
def test_an_application_is_one_if_the_user_says_so(found: Any) -> None:
    if isinstance(found, type):
        with pytest.raises(TargetError, match="is a class"):
            make_server(found, same, wsgi=True)
    else:
        handler = handler_of(make_server(found, same, wsgi=True))
        assert isinstance(handler.__self__, WsgiHandler)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "it is NoneType: no server, no handler and no WSGI application"),
        ("server", "it is str: no server, no handler and no WSGI application"),
        (FileHandler, "FileHandler is a class; serve an object, or say --factory"),
        (Application, "Application is a class; serve an object, or say --factory"),
        (APP.none, "it takes no argument; if it makes what is to be served, say --factory"),
        (APP.later, "it is a coroutine function; handlers are functions, run by threads"),
        (APP.asgi, "it takes three arguments, as ASGI applications do; WSGI ones are served"),
        *((found, UNCLEAR) for found in (APP.four, APP.any, APP.one_or_none, print)),
    ],
)
def test_what_cannot_be_served(found: object, reason: str) -> None:
    with pytest.raises(TargetError) as error:
        make_server(found, same)
    assert str(error.value) == reason


def test_a_server_is_served_as_the_object_that_it_is() -> None:
    server = HttpServer(APP.handle, ServerConfig(workers=3))
    assert make_server(server, lambda config: replace(config, port=0)) is server
    assert (server.config.workers, server.config.port) == (3, 0)


def test_a_server_that_runs_already_is_refused() -> None:
    with (
        HttpServer(APP.handle, ServerConfig(port=0)) as server,
        pytest.raises(TargetError, match="it is running already"),
    ):
        make_server(server, same)


def test_a_handler_gets_the_default_config() -> None:
    server = make_server(APP.handle, lambda config: replace(config, workers=2))
    assert server.config == ServerConfig(workers=2, websocket=WebSocketConfig())
