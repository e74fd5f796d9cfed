"""`--reload`: the program is started again when its files change, and all ends together."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import DEADLINE, Program, get

if TYPE_CHECKING:
    from tests.cli.conftest import Serve

SERVED = """
import os
from handy_ws import HttpResponse


def hello(context):
    return HttpResponse(f"VERSION {os.getpid()}")
"""
AGAIN = "Starting again, because of "
FAILED = "The program has failed. A change of its files starts it again."


def served(version: str) -> str:
    return SERVED.replace("VERSION", version)


def ask(address: tuple[str, int]) -> tuple[str, int]:
    """Return the version of the program, and its process."""
    version, process = get(address).split()
    return version, int(process)


def is_gone(process: int) -> bool:
    """Say whether a process is over, and not even a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until_gone(process: int) -> None:
    until = time.monotonic() + DEADLINE
    while not is_gone(process):
        assert time.monotonic() < until, f"process {process} lives on"
        time.sleep(0.01)


@pytest.fixture
def running(serve: Serve) -> Program:
    """A program of version "one", which is watched."""
    serve.write(served("one"))
    return serve("program:hello", "--reload")


def test_a_change_starts_it_again_at_the_same_port(serve: Serve, running: Program) -> None:
    address = running.address()
    version, first = ask(address)
    assert version == "one"
    serve.write(served("two"))
    assert running.address() == address
    version, second = ask(address)
    assert version == "two"
    assert first != second
    assert is_gone(first)
    serve.write("", "added.py")
    assert running.address() == address
    assert is_gone(second)
    assert running.error().count(AGAIN) == 2
    assert f"{AGAIN}program.py\n" in running.error()
    assert f"{AGAIN}added.py\n" in running.error()


def test_an_error_in_the_program_is_not_the_end(serve: Serve, running: Program) -> None:
    address = running.address()
    _, first = ask(address)
    serve.write("def hello(:\n")
    running.wait_for_error(FAILED)
    assert "SyntaxError" in running.error()
    assert is_gone(first)
    assert running.process.poll() is None
    serve.write(served("two"))
    assert running.address() == address
    assert ask(address)[0] == "two"


def test_an_error_from_the_beginning_is_not_the_end(serve: Serve) -> None:
    serve.write("import nothing_of_that_name\n")
    program = serve("program:hello", "--reload")
    program.wait_for_error(FAILED)
    serve.write(served("two"))
    assert ask(program.address())[0] == "two"


def test_wrong_arguments_from_the_beginning_are(serve: Serve) -> None:
    serve.write(served("one"))
    program = serve("program:helo", "--reload")
    assert program.end() == 2
    assert "there is no 'helo' in 'program'; did you mean 'hello'?" in program.error()
    assert FAILED not in program.error()


def test_a_target_that_goes_away_for_a_while_is_not(serve: Serve, running: Program) -> None:
    address = running.address()
    serve.write("")
    running.wait_for_error(FAILED)
    serve.write(served("two"))
    assert running.address() == address


def test_other_files_matter_if_they_are_named(serve: Serve) -> None:
    serve.write(served("one"))
    serve.write("", "pages/index.html")
    program = serve("program:hello", "--reload", "--reload-include", "*.html")
    program.address()
    for name in ("notes.txt", "__pycache__/x.py", ".git/x.py", "pages/index.html"):
        serve.write("changed", name)
    program.address()
    assert program.error().count(AGAIN) == 1
    assert f"{AGAIN}pages/index.html\n" in program.error()


def test_a_socket_that_was_inherited_is_passed_on(serve: Serve) -> None:
    serve.write(served("one"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        command = ["-m", "handy_ws", "serve", "program:hello", "--reload", "--fd", str(fd)]
        program = serve.run(*command, descriptors=[fd])
        address = listener.getsockname()
        assert program.address() == address
        assert ask(address)[0] == "one"
        serve.write(served("two"))
        assert program.address() == address
        assert ask(address)[0] == "two"


def test_directories_can_be_chosen(serve: Serve) -> None:
    serve.write(served("one"))
    serve.write("", "lib/part.py")
    program = serve("program:hello", "--reload", "--reload-dir", "lib")
    program.address()
    serve.write(served("two"))
    serve.write("changed = True", "lib/part.py")
    assert ask(program.address())[0] == "two"
    assert f"{AGAIN}lib/part.py\n" in program.error()


# The end


def test_ctrl_c_ends_all(running: Program) -> None:
    _, child = ask(running.address())
    running.signal_all(signal.SIGINT)
    assert running.end() == 0
    assert is_gone(child)
    assert "Traceback" not in running.error()
    assert running.error().count("the server stops") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_alone_ends_all(running: Program, number: signal.Signals) -> None:
    _, child = ask(running.address())
    assert running.end(number) == 0
    assert is_gone(child)
    assert running.error().count("the server stops") == 1


def test_a_child_does_not_outlive_its_parent(running: Program) -> None:
    _, child = ask(running.address())
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until_gone(child)


def test_a_program_that_is_still_being_imported_ends_too(serve: Serve) -> None:
    serve.write("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    program = serve("program:hello", "--reload")
    program.line("here")
    assert program.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "Traceback" not in program.error()


def test_a_program_that_ends_itself_ends_all(serve: Serve) -> None:
    serve.write("def hello(context):\n    context.server.stop()\n")
    program = serve("program:hello", "--reload")
    get(program.address())
    assert program.end() == 0


STUCK = """
import threading
threading.Thread(target=threading.Event().wait).start()
"""


def test_a_program_that_does_not_end_is_ended(serve: Serve) -> None:
    # It takes as long as a program may take to end: seconds.
    serve.write(served("one") + STUCK)
    program = serve("program:hello", "--reload")
    address = program.address()
    _, first = ask(address)
    serve.write(served("two"))
    assert program.address() == address
    assert is_gone(first)
    assert ask(address)[0] == "two"


def test_a_second_signal_does_not_wait(serve: Serve) -> None:
    serve.write(served("one") + STUCK)
    program = serve("program:hello", "--reload")
    _, child = ask(program.address())
    program.process.send_signal(signal.SIGINT)
    program.wait_for_error("the server stops")
    begun = time.monotonic()
    assert program.end(signal.SIGINT) == 128 + signal.SIGKILL
    assert time.monotonic() - begun < 10  # where it would wait for 15 seconds
    assert is_gone(child)


def test_a_child_knows_nothing_of_being_one(serve: Serve) -> None:
    serve.write(
        "import os\nfrom handy_ws import HttpResponse\n"
        "def hello(context):\n"
        "    names = [name for name in os.environ if name.startswith('HANDY_WS')]\n"
        "    inherited = [fd for fd in map(int, os.listdir('/proc/self/fd'))\n"
        "                 if fd > 2 and os.path.exists(f'/proc/self/fd/{fd}')\n"
        "                 and os.get_inheritable(fd)]\n"
        "    return HttpResponse(str((names, inherited)))\n"
    )
    assert get(serve("program:hello", "--reload").address()) == "([], [])"


def test_without_watchfiles_it_says_how_to_get_it(serve: Serve) -> None:
    program = serve.run(
        "-c",
        "import sys; sys.modules['watchfiles'] = None; sys.argv = ['handy-ws', 'serve', 'a:b',"
        " '--reload']; import handy_ws.cli; handy_ws.cli.main()",
    )
    assert program.end() == 2
    assert "Error: --reload needs watchfiles: pip install 'handy-ws[reload]'\n" in program.error()
