"""Forks of a process that has a running server: no parent notices, and no child has it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.life.program import outcome, run, start

if TYPE_CHECKING:
    from pathlib import Path

#: Forking a process that has threads is what is tested here. Python 3.12 warns of it.
OPTIONS = ("-W", "ignore::DeprecationWarning")

#: `fork(function, ending)` runs the function in a child, and returns the child's status.
FORK = """
import faulthandler, traceback
from tests.websocket.recorder import Echo, wait_until

websockets = WebSocketHandler(Echo())
server.start_in_thread()
faulthandler.register(signal.SIGALRM, chain=True)  # says where it hangs, and ends it
endings = {"exit": sys.exit, "_exit": os._exit}

def begin(function, ending="exit"):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            function()
            status = 7
        except Exception:
            traceback.print_exc()
        sys.stderr.flush()
        signal.alarm(0)
        endings[ending](status)
    return child

def fork(function, ending="exit"):
    return os.waitstatus_to_exitcode(os.waitpid(begin(function, ending), 0)[1])

def works(server):
    with RawWebSocket.open(server.address) as client:
        client.send_text("echo")
        assert client.read_text() == "echo"
        client.reset()
"""

#: Clients that check that they get each echo, in order; and threads that send to all of them.
LOAD = """
class Load:
    def __init__(self):
        self.done = threading.Event()
        self.clients = [RawWebSocket.open(server.address) for _ in range(8)]
        manager = server.websocket_manager
        wait_until(lambda: manager.stats().connections_total == 8)
        self.connections = manager.connections
        self.counts = [0] * 8
        tasks = [(self.echo, number) for number in range(8)] + [(self.send,)] * 2
        self.threads = [
            threading.Thread(target=task, args=args, daemon=True) for task, *args in tasks
        ]
        for thread in self.threads:
            thread.start()

    def echo(self, number):
        client = self.clients[number]
        while not self.done.is_set():
            sent = str(self.counts[number])
            client.send_text(sent)
            while (received := client.read_text()) in ("to one", "to all"):
                pass
            assert received == sent
            self.counts[number] += 1

    def send(self):
        while not self.done.is_set():
            for connection in self.connections:
                connection.send_text("to one")
            server.websocket_manager.broadcast("to all")
            self.done.wait(0.002)

    def went_on(self):
        before = list(self.counts)
        deadline = time.monotonic() + 20
        while any(now < then + 3 for now, then in zip(self.counts, before)):
            assert all(thread.is_alive() for thread in self.threads)
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
"""


def forking(source: str) -> tuple[int, str, str]:
    return run(FORK + LOAD + textwrap.dedent(source), *OPTIONS)


@pytest.mark.parametrize("ending", ["exit", "_exit"])
def test_a_child_has_no_server_and_says_so(ending: str) -> None:
    source = f"""
        def child():
            manager = server.websocket_manager
            assert not server._run and not load.connections[0].is_open
            assert (len(manager), manager.connections) == (0, [])
            assert manager.stats().connections_total == 8
            assert "stopped" in repr(manager)
            for refused in (manager.broadcast, manager.broadcast):
                try:
                    refused("nobody")
                except RuntimeError as error:
                    assert f"another process (pid {{os.getppid()}})" in str(error)
                else:
                    raise AssertionError
            for connection in load.connections:
                try:
                    connection.send_text("nobody")
                except ConnectionClosed:
                    pass
                else:
                    raise AssertionError
                connection.close()
            try:
                server.address
            except RuntimeError:
                pass
            server.stop()
            server.wait()

        load = Load()
        for _ in range(5):
            assert fork(child, {ending!r}) == 7
            load.went_on()
        load.end()
    """
    assert forking(source) == (0, "", "")


@pytest.mark.parametrize("ending", ["exit", "_exit"])
def test_a_child_can_start_servers(ending: str) -> None:
    source = f"""
        def grandchild():
            with server:
                works(server)

        def child():
            with server:
                works(server)
                manager = server.websocket_manager
                with RawWebSocket.open(server.address) as client:
                    client.send_text("here")
                    assert client.read_text() == "here"
                    manager.broadcast("to the child's")
                    assert client.read_text() == "to the child's"
                    assert len(manager) == len(manager.connections) == 1
                    client.reset()
                assert fork(grandchild, {ending!r}) == 7
                works(server)
            with HttpServer(handle, ServerConfig(port=0)) as other:
                works(other)

        load = Load()
        for _ in range(3):
            assert fork(child, {ending!r}) == 7
            load.went_on()
        load.end()
    """
    assert forking(source) == (0, "", "")


def test_a_server_that_is_made_before_the_fork_can_be_started_in_each_child() -> None:
    source = """
        def child():
            with other:
                works(other)

        other = HttpServer(handle, ServerConfig(port=0))
        assert [fork(child) for _ in range(3)] == [7, 7, 7]
        child()
        assert [fork(child) for _ in range(3)] == [7, 7, 7]
    """
    assert forking(source) == (0, "", "")


def test_a_fork_while_another_thread_looks_up_what_the_core_needs_from_python() -> None:
    source = """
        import handy_ws.websocket.enums as enums

        def look_up(name):  # what a callback needs for the first time
            if name != "SendResult":
                raise AttributeError(name)
            begun.set()
            while waiting:
                time.sleep(0.001)
            return SendResult

        def child():
            global waiting
            waiting = False
            with server:
                works(server)

        begun, waiting = threading.Event(), True
        del enums.SendResult
        enums.__getattr__ = look_up
        client = RawWebSocket.open(server.address)
        client.send_text("first")
        assert begun.wait(20)
        assert fork(child) == 7
        waiting = False
        assert client.read_text() == "first"
        client.reset()
    """
    assert forking(source) == (0, "", "")


def test_forks_while_long_payloads_are_given_back() -> None:
    source = """
        def send():
            while not done.is_set():
                for connection in connections:
                    if connection.send_binary(payload) is not SendResult.QUEUED:
                        connection.wait_drained(20)

        def child():
            with server:
                with RawWebSocket.open(server.address) as client:
                    server.websocket_manager.connections[0].send_binary(payload)
                    assert client.read_frame().payload == payload
                    client.reset()

        payload, done = bytes(10_000), threading.Event()
        clients = [RawWebSocket.open(server.address) for _ in range(4)]
        connections = server.websocket_manager.connections
        threads = [threading.Thread(target=send)]
        threads += [threading.Thread(target=client.read_until_close) for client in clients]
        for thread in threads:
            thread.start()
        assert [fork(child, "_exit") for _ in range(20)] == [7] * 20
        done.set()
        threads[0].join()
        server.stop(1)
        for thread in threads:
            thread.join()
    """
    assert forking(source) == (0, "", "")


def test_children_keep_no_connection_and_no_port_open() -> None:
    source = """
        def child():
            os.close(writer)
            os.write(ready, b"1")
            os.read(reader, 1)  # the parent's end

        reader, writer = os.pipe()
        is_ready, ready = os.pipe()
        address = server.address
        clients = [RawWebSocket.open(address) for _ in range(20)]
        idle = RawWebSocket(address)
        begun = RawWebSocket(address)
        begun.send(b"GET / HT")
        alive = RawWebSocket(address)
        alive.send(b"GET /body HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert alive.read_response_head()[0] == 200
        children = [begin(child, "_exit") for _ in range(2)]
        for _ in children:
            os.read(is_ready, 1)
        for client in clients[:10]:
            client.send_close()
            client.read_until_close()
            client.read_end()
        threading.Thread(target=server.stop).start()
        for client in clients[10:]:
            client.read_until_close()
            client.send_close(1001)
            client.read_end()
        for client in (idle, begun, alive):
            client.read_end()
        server.wait()
        with HttpServer(handle, ServerConfig(port=address[1])) as other:
            works(other)
        os.close(writer)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """
    assert forking(source) == (0, "", "")


def test_connections_that_end_around_a_fork_end_for_their_clients() -> None:
    source = """
        def child():
            os.close(writer)
            os.read(reader, 1)

        def churn():
            while not done.is_set():
                client = RawWebSocket.open(server.address)
                client.send_close()
                client.read_until_close()
                client.read_end()
                client.socket.close()
                ended.append(1)

        reader, writer = os.pipe()
        done, ended = threading.Event(), []
        threads = [threading.Thread(target=churn) for _ in range(4)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(15):
            children.append(begin(child, "_exit"))
            count = len(ended)
            deadline = time.monotonic() + 20
            while len(ended) < count + 20:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        done.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        os.close(writer)
        assert [os.waitpid(child, 0)[1] >> 8 for child in children] == [7] * 15
    """
    assert forking(source) == (0, "", "")


@pytest.mark.parametrize("where", ["callback", "handler"])
@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        ("pass", 0, ""),
        ("os._exit(5)", 5, ""),
        ("sys.exit(5)", 0, ""),  # as in any thread
        ("raise LookupError", 0, "LookupError\n"),
        ("server.stop()", 0, ""),
    ],
)
def test_a_fork_in(where: str, ending: str, status: int, error: str) -> None:
    source = f"""
        class Forking(Echo):
            def on_text_message(self, message):
                if message.payload == "go":
                    entered.set()
                    if body() == "child":
                        return
                super().on_text_message(message)

        def body():
            child = os.fork()
            if child == 0:
                {ending}
                return "child"
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {status}
            answered.set()

        answered = threading.Event()
        websockets = WebSocketHandler(Forking())
        other = RawWebSocket.open(server.address)
        client = call_body({where!r})
        if {where!r} == "callback":
            assert client.read_text() == "go"
        else:
            assert client.read_response_head()[0] == 200
        assert answered.is_set()
        other.send_text("still here")
        assert other.read_text() == "still here"
        works(server)
    """
    status_of_parent, out, err = forking(source)
    assert (status_of_parent, out) == (0, "")
    assert err.endswith(error)
    assert err.count("Traceback") == bool(error)
    assert error or not err


def test_a_signal_ends_a_child_that_was_forked_while_the_main_thread_waits() -> None:
    source = """
        def body():
            child = os.fork()
            if child == 0:
                while True:
                    signal.pause()
            print(child, flush=True)
            os.kill(child, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
            server.stop()

        def call():
            while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                time.sleep(0.001)
            call_body("handler")

        threading.Thread(target=call).start()
        server.wait()
    """
    status, out, err = forking(source)
    assert (status, err) == (0, "")
    assert int(out) > 0


def test_programs_that_the_server_starts() -> None:
    source = """
        import subprocess

        load = Load()
        for options in ({}, {"close_fds": False}, {"preexec_fn": lambda: None}) * 4:
            program = [sys.executable, "-c", "print('out')"]
            assert subprocess.check_output(program, **options) == b"out\\n"
            load.went_on()
        load.end()
    """
    assert forking(source) == (0, "", "")


PROCESSES = """
import multiprocessing, os, sys, threading
from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler
from tests.websocket.raw_websocket import RawWebSocket

class Echo(WebSocketMessageHandler):
    def on_text_message(self, message):
        message.connection.send_text(message.payload)

def works(address):
    client = RawWebSocket.open(address)
    client.send_text("hello")
    assert client.read_text() == "hello"
    client.reset()

def child(address, results):
    works(address)  # the parent's
    with HttpServer(WebSocketHandler(Echo()), ServerConfig(port=0)) as own:
        works(own.address)
    results.put(os.getpid())

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    results = context.Queue()
    with HttpServer(WebSocketHandler(Echo()), ServerConfig(port=0)) as server:
        client = RawWebSocket.open(server.address)
        for _ in range(2):
            arguments = server.address, results
            processes = [context.Process(target=child, args=arguments) for _ in "ab"]
            for process in processes:
                process.start()
            pids = {results.get(timeout=30) for _ in processes}
            for process in processes:
                process.join(30)
            assert pids == {process.pid for process in processes}
            assert [process.exitcode for process in processes] == [0, 0]
        with context.Pool(2) as pool:
            pool.map(works, [server.address] * 10)
            pool.close()
            pool.join()
        client.send_text("hello")
        assert client.read_text() == "hello"
        client.reset()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROCESSES)
    arguments = f"sys.argv = [{str(program)!r}, {method!r}]\n"
    source = f"import runpy\n{arguments}runpy.run_path(sys.argv[0], run_name='__main__')\n"
    with start(source, *OPTIONS) as process:
        assert outcome(process) == (0, "", "")
