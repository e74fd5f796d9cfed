"""`handy-ws serve` as it is used: what it serves, what it says, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import stat
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.cli.program import get
from tests.http.raw_http import RawClient
from tests.http.raw_http import get as get_request

if TYPE_CHECKING:
    from tests.cli.conftest import Serve

SIGNALS = [signal.SIGINT, signal.SIGTERM]
USAGE = "Usage: python -m handy_ws serve"

PROGRAM = """
import threading
import time

from handy_ws import (
    HttpRequestHandler, HttpResponse, HttpServer, PathHandler, ServerConfig, WebSocketHandler,
    WebSocketMessageHandler,
)

stuck = threading.Event()


class Hello(HttpRequestHandler):
    def handle(self, context):
        return HttpResponse("a handler")


def hello(context):
    return HttpResponse("a function")


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"a WSGI application"]


def make():
    return HttpServer(lambda context: HttpResponse("made"))


def wait(context):
    print("stuck", flush=True)
    stuck.wait()


def look(context):
    return HttpResponse(str((context.server is server, server.config.workers)))


handler = Hello()
paths = PathHandler(hello).add("/stuck", wait).add("/look", look)
paths.add("/ws", WebSocketHandler(WebSocketMessageHandler()))
server = HttpServer(paths, ServerConfig(workers=3))
"""


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["program:handler"], "a handler"),
        (["program:hello"], "a function"),
        (["program:wsgi"], "a WSGI application"),
        (["program:wsgi", "--wsgi"], "a WSGI application"),
        (["program:make", "--factory"], "made"),
    ],
)
def test_what_can_be_served(serve: Serve, arguments: list[str], body: str) -> None:
    serve.write(PROGRAM)
    assert get(serve(*arguments).address()) == body


def test_the_server_of_the_program_is_the_one_that_serves(serve: Serve) -> None:
    serve.write(PROGRAM)
    assert get(serve("program:server").address(), "/look") == "(True, 3)"


def test_options_replace_what_the_program_says(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:server", "--workers", "2", "--host", "127.0.0.2")
    host, port = program.address()
    assert host == "127.0.0.2"
    assert get((host, port), "/look") == "(True, 2)"


def test_an_ipv6_address_is_told_in_brackets(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:hello", "--host", "::1")
    port = int(program.line(r"^Serving on http://\[::1\]:(\d+)$")[1])
    assert get(("::1", port)) == "a function"


def test_a_unix_socket_is_told_by_its_path(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve.run(
        "-m",
        "handy_ws",
        "serve",
        "program:hello",
        "--unix-socket",
        "s",
        "--unix-socket-mode",
        "660",
    )
    path = program.line("^Serving on unix:(.*)$")[1]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(serve.directory / path))
        client.sendall(get_request())
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert stat.S_IMODE((serve.directory / "s").stat().st_mode) == 0o660
    assert program.end(signal.SIGTERM) == 0
    assert not (serve.directory / "s").exists()


def test_a_flask_application_needs_nothing_but_its_name(serve: Serve) -> None:
    serve.write("from flask import Flask\napp = Flask(__name__)\napp.route('/')(lambda: 'Flask')\n")
    assert get(serve("program:app").address()) == "Flask"


def test_a_module_in_a_package_is_served_from_where_it_lies(serve: Serve) -> None:
    serve.write("", "shop/__init__.py")
    serve.write(PROGRAM, "shop/web.py")
    assert get(serve("shop.web:hello").address()) == "a function"


# Signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_quietly_and_says_goodbye(serve: Serve, number: signal.Signals) -> None:
    serve.write(PROGRAM)
    program = serve("program:server", "--no-access-log")
    address = program.address()
    with connect("ws://{}:{}/ws".format(*address)) as client:
        assert program.end(number) == 0
        assert list(client) == []
    assert client.close_code == 1001
    assert program.rest() == []
    assert [line.partition("INFO ")[2] for line in program.errors] == [
        "handy_ws: the server stops; WebSocket connections to close: 1\n"
    ]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_it_serves_ends_it_as_signals_do(
    serve: Serve, number: signal.Signals
) -> None:
    serve.write("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    program = serve("program:server")
    program.line("here")
    assert program.end(number) == 128 + number
    assert program.error() == ""


def test_a_second_signal_does_not_wait(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:server")
    with RawClient(program.address()) as client:
        client.send(get_request("/stuck"))
        program.line("stuck")
        program.process.send_signal(signal.SIGINT)
        program.wait_for_error("the server stops")
        assert program.end(signal.SIGINT) == 0
    assert "Traceback" not in program.error()


def test_a_server_that_is_stopped_by_its_program_ends_it(serve: Serve) -> None:
    serve.write("def stop(context):\n    context.server.stop()\n")
    program = serve("program:stop")
    assert get(program.address()) == ""
    assert program.end() == 0


# What is wrong


def test_a_wrong_target_is_told_in_one_line(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:servr")
    assert program.end() == 2
    assert program.error().startswith(USAGE)
    assert program.errors[-1] == (
        "Error: Invalid value for MODULE:NAME: there is no 'servr' in 'program';"
        " did you mean 'server'?\n"
    )


def test_a_wrong_value_is_told_in_one_line(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:server", "--workers", "0")
    assert program.end() == 2
    assert program.errors[-1] == (
        "Error: Invalid value for '--workers': must be an integer from 1 to 10000, not 0\n"
    )


def test_what_fails_in_the_program_is_told_with_the_programs_lines(serve: Serve) -> None:
    serve.write("from inner import nothing\n")
    serve.write("import missing_module\n", "inner.py")
    program = serve("program:server")
    assert program.end() == 1
    assert program.errors[0] == "Traceback (most recent call last):\n"
    assert program.errors[-1] == "ModuleNotFoundError: No module named 'missing_module'\n"
    files = [line.split('"')[1] for line in program.errors if line.startswith("  File ")]
    expected = ["program.py", "inner.py"]
    assert [file for file in files if not file.startswith("<")] == [
        str(serve.directory / name) for name in expected
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_cannot_be_had_is_told_in_one_line(serve: Serve, host: str) -> None:
    serve.write(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = serve("program:server", "--host", host, "--port", str(port))
        assert program.end() == 1
    assert program.error().startswith(f"Error: cannot listen on {host} port {port}: ")
    assert len(program.errors) == 1


def test_a_program_that_starts_its_server_is_told(serve: Serve) -> None:
    serve.write(
        "from handy_ws import HttpServer, ServerConfig\n"
        "server = HttpServer(print, ServerConfig(port=0))\n"
        "server.start_in_thread()\n"
    )
    program = serve("program:server")
    assert program.end() == 2
    assert "it is running already; the program must not start it" in program.error()


# What is logged

LOGGING = """
import logging
from handy_ws import HttpResponse


def hello(context):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("handy_ws").log(level, "of the server")
        logging.getLogger("program").log(level, "of the program")
    return HttpResponse()
"""

WARNINGS = ["WARNING handy_ws", "WARNING program"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["INFO handy_ws", "INFO program", *WARNINGS]),
        (
            ["--log-level", "DEBUG"],
            ["DEBUG handy_ws", "INFO handy_ws", "INFO program", *WARNINGS],
        ),
        (["--log-level", "error"], ["INFO program", "WARNING program"]),
    ],
)
def test_the_level_is_for_what_the_server_logs(
    serve: Serve, options: list[str], expected: list[str]
) -> None:
    serve.write(LOGGING)
    program = serve("program:hello", "--no-access-log", *options)
    get(program.address())
    assert program.end(signal.SIGINT) == 0
    lines = [line.split(" ", 2)[2].partition(": of the")[0] for line in program.errors]
    assert [line for line in lines if "stops" not in line] == expected


def test_requests_are_logged_as_they_are_everywhere(serve: Serve) -> None:
    serve.write(PROGRAM)
    program = serve("program:hello", "--log-level", "error")
    get(program.address(), "/some?where")
    assert program.end(signal.SIGINT) == 0
    line = r'127\.0\.0\.1 - - \[.*\] "GET /some\?where HTTP/1\.1" 200 10\n'
    assert re.fullmatch(line, program.errors[0])


def test_a_program_that_sets_up_logging_itself_keeps_that(serve: Serve) -> None:
    serve.write(
        "import logging\nlogging.basicConfig(level='WARNING', format='own: %(message)s')" + LOGGING
    )
    program = serve("program:hello")
    get(program.address())
    assert program.end(signal.SIGINT) == 0
    assert program.error() == "own: of the server\nown: of the program\n"


# The rest of the command line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--version"], "handy-ws {version}\n"),
        (["--help"], "Usage: python -m handy_ws [OPTIONS] COMMAND"),
        (["serve", "-h"], USAGE),
    ],
)
def test_it_tells_about_itself(serve: Serve, arguments: list[str], text: str) -> None:
    program = serve.run("-m", "handy_ws", *arguments)
    assert program.end() == 0
    assert "".join(program.rest()).startswith(text.format(version=version("handy-ws")))


def test_without_click_it_says_how_to_get_it(serve: Serve) -> None:
    program = serve.run(
        "-c",
        "import sys; sys.modules['click'] = None; import handy_ws.cli; handy_ws.cli.main()",
    )
    assert program.end() == 1
    assert program.error() == "The command line needs click: pip install 'handy-ws[cli]'\n"
