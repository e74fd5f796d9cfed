"""Starting and stopping: from every thread, in every state, leaving nothing behind."""

from __future__ import annotations

import errno
import gc
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CloseCode,
    HttpResponse,
    HttpServer,
    ServerConfig,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
)
from websockets.sync.client import connect

from tests.http.conftest import server_threads, wait
from tests.http.raw_http import DEADLINE, RawClient, get, post
from tests.process import open_descriptors
from tests.signals import wait_until_caught

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext, WebSocketTextMessage

    from tests.http.conftest import Serve

CONFIG = ServerConfig(port=0, workers=2)


def ok(_: HttpRequestContext) -> None:
    """Answer 200 and empty."""


def join(thread: threading.Thread) -> None:
    """Wait for a thread to end; fail if it does not."""
    thread.join(DEADLINE)
    assert not thread.is_alive()


def refuses(address: tuple[str, int]) -> bool:
    """Say whether nobody listens."""
    try:
        RawClient(address).sock.close()
    except ConnectionError:
        # Refused; or reset, since the listener was closed with us in its backlog.
        return True
    return False


# Starting


def test_the_address_is_the_one_really_bound(serve: Serve) -> None:
    server = serve(ok)
    host, port = server.address
    assert host == "127.0.0.1"
    assert port > 0
    assert serve.client(server).get().status == 200


def test_ipv6(serve: Serve) -> None:
    server = serve(ok, host="::1")
    assert server.address[0] == "::1"
    assert serve.client(server).get("/").status == 200


def test_a_name_as_host(serve: Serve) -> None:
    assert serve.client(serve(ok, host="localhost")).get("/").status == 200


def test_a_server_that_does_not_run_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        HttpServer(ok, CONFIG).address  # noqa: B018


def test_the_manager_is_there_from_construction_on() -> None:
    server = HttpServer(ok, CONFIG)
    manager = server.websocket_manager
    assert isinstance(manager, WebSocketManager)
    with server:
        assert server.websocket_manager is manager
    assert server.websocket_manager is manager


def test_start_in_thread_returns_the_thread_that_ends_with_the_server() -> None:
    server = HttpServer(ok, CONFIG)
    thread = server.start_in_thread()
    with RawClient(server.address) as client:
        assert client.get().status == 200
    assert thread.is_alive()
    server.stop()
    assert not thread.is_alive()


def test_the_threads_have_names() -> None:
    with HttpServer(ok, CONFIG):
        names = {thread.name for thread in server_threads()}
    assert {
        "handy-ws-acceptor",
        "handy-ws-manager",
        "handy-ws-http-1",
        "handy-ws-http-2",
    } <= names


def test_start_blocks_until_stop_from_another_thread() -> None:
    server = HttpServer(ok, CONFIG)
    thread = threading.Thread(target=server.start)
    thread.start()
    while True:
        try:
            address = server.address
            break
        except RuntimeError:
            assert thread.is_alive()
    with RawClient(address) as client:
        assert client.get().status == 200
    assert thread.is_alive()
    server.stop()
    join(thread)


@pytest.mark.parametrize("method", ["start", "start_in_thread"])
def test_a_running_server_cannot_be_started(method: str) -> None:
    with HttpServer(ok, CONFIG) as server:
        with pytest.raises(RuntimeError, match="running already"):
            getattr(server, method)()
        with RawClient(server.address) as client:
            assert client.get().status == 200


@pytest.mark.parametrize("method", ["start", "start_in_thread"])
def test_an_address_that_is_taken_raises_and_leaves_nothing_behind(method: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HttpServer(ok, ServerConfig(port=port))
        threads = threading.enumerate()
        descriptors = open_descriptors()
        for _ in range(3):
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
                getattr(server, method)()
        assert threading.enumerate() == threads
        assert open_descriptors() == descriptors
    with server, RawClient(server.address) as client:
        assert client.get().status == 200


def test_a_start_that_fails_half_way_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "deliberate")

    server = HttpServer(ok, CONFIG)
    threads = threading.enumerate()
    descriptors = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr("handy_ws.http.run.Acceptor", fail)
        for _ in range(2):
            with pytest.raises(OSError, match="deliberate"):
                server.start_in_thread()
    assert threading.enumerate() == threads
    assert open_descriptors() == descriptors
    with server, RawClient(server.address) as client:
        assert client.get().status == 200


def test_an_unknown_host_raises() -> None:
    with pytest.raises(OSError, match="no-such-host"):
        HttpServer(ok, ServerConfig(host="no-such-host.invalid", port=0)).start_in_thread()


@pytest.mark.parametrize("handler", [None, 7, "text", object()], ids=lambda it: type(it).__name__)
def test_what_is_not_a_handler_is_refused(handler: object) -> None:
    with pytest.raises(TypeError, match="handler"):
        HttpServer(handler, CONFIG)  # type: ignore[arg-type]


def test_what_is_not_a_config_is_refused() -> None:
    with pytest.raises(TypeError, match="ServerConfig"):
        HttpServer(ok, {"port": 0})  # type: ignore[arg-type]


# Stopping


def test_stop_refuses_new_connections_and_closes_waiting_ones() -> None:
    server = HttpServer(ok, ServerConfig(port=0, workers=1))
    server.start_in_thread()
    address = server.address
    idle, head, body = RawClient(address), RawClient(address), RawClient(address)
    with idle, head, body:
        assert idle.get().status == 200
        head.send(get()[:-2])
        body.send(post("/", b"hello")[:-1])
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 5
        assert idle.is_closed()
        assert head.is_closed()
        assert body.is_closed()
    assert refuses(address)


def test_stop_twice_and_before_start_is_harmless() -> None:
    server = HttpServer(ok, CONFIG)
    server.stop()
    server.start_in_thread()
    server.stop()
    server.stop(0)


def test_stop_from_many_threads_at_once() -> None:
    server = HttpServer(ok, CONFIG)
    thread = server.start_in_thread()
    stoppers = [threading.Thread(target=server.stop) for _ in range(8)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        join(stopper)
    assert not thread.is_alive()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e10])
def test_stop_refuses_a_bad_timeout(timeout: float) -> None:
    with HttpServer(ok, CONFIG) as server:
        with pytest.raises(ValueError, match="timeout"):
            server.stop(timeout)
        with RawClient(server.address) as client:
            assert client.get().status == 200


def test_the_same_server_can_be_started_again() -> None:
    server = HttpServer(ok, CONFIG)
    for _ in range(5):
        with server, RawClient(server.address) as client:
            assert client.get().status == 200


def test_the_same_port_can_be_bound_again_at_once() -> None:
    with HttpServer(ok, CONFIG) as server:
        port = server.address[1]
        client = RawClient(server.address)
        assert client.get().status == 200
    with client, HttpServer(ok, ServerConfig(port=port)):
        pass


def test_stop_from_a_handler(serve: Serve) -> None:
    def handle(context: HttpRequestContext) -> None:
        context.server.stop()
        context.response.data = "stopped"

    server = serve(handle, workers=1)
    client = serve.client(server)
    thread = server._run.acceptor  # type: ignore[union-attr]
    response = client.get()
    assert (response.body, response.get("Connection")) == (b"stopped", "close")
    assert client.is_closed()
    join(thread)
    with server:
        pass


def test_a_running_handler_may_finish(serve: Serve, events: Callable[[], threading.Event]) -> None:
    begun, release = events(), events()

    def handle(context: HttpRequestContext) -> None:
        begun.set()
        wait(release)
        context.response.data = "finished"

    server = serve(handle, workers=1)
    address = server.address
    client = serve.client(server)
    client.send(get())
    wait(begun)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    while not refuses(address):
        pass
    assert stopper.is_alive()
    release.set()
    response = client.response()
    assert (response.body, response.get("Connection")) == (b"finished", "close")
    join(stopper)


def test_a_response_on_its_way_may_finish(serve: Serve) -> None:
    begun = threading.Event()

    def parts() -> Iterator[bytes]:
        for _ in range(16):
            yield b"x" * 1_000_000
            begun.set()

    server = serve(lambda _: HttpResponse(parts()), workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    wait(begun)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    assert len(client.response().body) == 16_000_000
    join(stopper)


def test_requests_in_the_queue_are_answered(
    serve: Serve, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()

    def handle(_: HttpRequestContext) -> None:
        begun.set()
        wait(release)

    server = serve(handle, workers=1)
    address = server.address
    clients = [serve.client(server) for _ in range(5)]
    for client in clients:
        client.send(get())
    wait(begun)
    acceptor = server._run.acceptor  # type: ignore[union-attr]
    while acceptor._dispatched < 5:
        assert acceptor.is_alive()
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    while not refuses(address):
        pass
    release.set()
    assert [client.response().status for client in clients] == [200] * 5
    join(stopper)


def test_a_handler_that_does_not_end_is_left_behind_with_a_warning(
    events: Callable[[], threading.Event], caplog: pytest.LogCaptureFixture
) -> None:
    begun, release = events(), events()

    def handle(_: HttpRequestContext) -> None:
        begun.set()
        wait(release)

    server = HttpServer(handle, ServerConfig(port=0, workers=1))
    server.start_in_thread()
    with RawClient(server.address) as client:
        client.send(get())
        wait(begun)
        before = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - before < 3
        assert "handy-ws-http-1" in caplog.text
        # It can be started again, and the one left behind does no harm when it ends.
        with server, RawClient(server.address) as other:
            other.send(get())
            stuck = [t for t in server_threads() if t.name == "handy-ws-http-1"]
            release.set()
            assert other.response().status == 200
            assert client.to_end().startswith(b"HTTP/1.1 200")
        for thread in stuck:
            join(thread)


def test_a_client_that_does_not_read_delays_stop_until_the_timeout_only() -> None:
    closed = threading.Event()
    begun = threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000_000
                begun.set()
        finally:
            closed.set()

    server = HttpServer(lambda _: HttpResponse(parts()), ServerConfig(port=0, workers=1))
    server.start_in_thread()
    with RawClient(server.address, receive_buffer=4096) as client:
        client.send(get())
        wait(begun)
        before = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - before < 3
        wait(closed)
    assert not server_threads()


def test_no_thread_and_no_descriptor_is_left_of_many_runs() -> None:
    server = HttpServer(ok, ServerConfig(port=0, workers=1))

    def run() -> None:
        with server, RawClient(server.address) as client:
            assert client.get().status == 200

    run()
    gc.collect()
    threads = threading.enumerate()
    descriptors = open_descriptors()
    gc.disable()
    try:
        for _ in range(200):
            run()
    finally:
        gc.enable()
    assert threading.enumerate() == threads
    assert open_descriptors() == descriptors


def test_the_log_tells_how_many_websockets_are_being_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "handy_ws")
    with HttpServer(WebSocketHandler(WebSocketMessageHandler()), CONFIG) as server:
        url = "ws://{}:{}".format(*server.address)
        with connect(url) as one, connect(url) as two:
            for client in (one, two):
                assert client.ping().wait(DEADLINE)  # the manager has it
            server.stop()
            server.stop()
    messages = [record.message for record in caplog.records if record.name == "handy_ws"]
    assert messages == ["the server stops; WebSocket connections to close: 2"]


# Waiting


def test_wait_returns_at_once_if_the_server_does_not_run() -> None:
    server = HttpServer(ok, CONFIG)
    server.wait()
    with server:
        pass
    server.wait()


def test_wait_blocks_every_thread_until_the_server_has_stopped(
    events: Callable[[], threading.Event],
) -> None:
    begun, release = events(), events()

    def handle(_: HttpRequestContext) -> None:
        begun.set()
        wait(release)

    server = HttpServer(handle, CONFIG)
    thread = server.start_in_thread()
    waiters = [threading.Thread(target=server.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    with RawClient(server.address) as client:
        client.send(get())
        wait(begun)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        while not refuses(client.sock.getpeername()):
            pass
        assert all(waiter.is_alive() for waiter in waiters)  # it is stopping, and has not yet
        release.set()
        for waiter in waiters:
            join(waiter)
        assert not thread.is_alive()
        join(stopper)


def test_wait_on_the_main_thread_ends_with_a_stop_from_elsewhere() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert threading.current_thread() is threading.main_thread()
    with HttpServer(ok, CONFIG) as server:
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        server.wait()
        assert not server_threads()
        join(stopper)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_a_server_can_be_stopped_and_waited_for_while_it_is_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = HttpServer(ok, CONFIG)
    others = [threading.Thread(target=method) for method in (server.wait, server.stop)]
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == "handy-ws-acceptor":
            for other in others:
                start(other)
            run = server._run
            while run is not None and not run.is_stopping():
                pass
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    server.start_in_thread()
    for other in others:
        join(other)
    server.wait()
    assert not server_threads()


def refusal(server: HttpServer) -> str:
    """Wait for the server and return why that is not possible."""
    with pytest.raises(RuntimeError) as error:
        server.wait()
    return str(error.value)


def test_wait_in_a_handler_raises(serve: Serve) -> None:
    server = serve(lambda context: HttpResponse(refusal(context.server)))
    assert b"cannot wait" in serve.client(server).get().body


def test_wait_in_a_callback_raises(serve: Serve) -> None:
    class Waiter(WebSocketMessageHandler):
        def on_text_message(self, message: WebSocketTextMessage) -> None:
            message.connection.send_text(refusal(server))

    server = serve(WebSocketHandler(Waiter()))
    with connect("ws://{}:{}".format(*server.address)) as client:
        client.send("")
        assert "cannot wait" in str(client.recv(DEADLINE))


# Signals, and the end of the interpreter

PROGRAM = """
import signal, sys, threading
from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler

announced = threading.Event()
release = threading.Event()
websockets = WebSocketHandler(WebSocketMessageHandler())

def handle(context):
    if context.head.path == "/stuck":
        print("stuck", flush=True)
        release.wait()
    if context.head.path == "/ws":
        return websockets.handle(context)

server = HttpServer(handle, ServerConfig(port=0, workers=2))
"""

START = """
def announce():
    while True:
        try:
            print(server.address[1], flush=True)
            announced.set()
            return
        except RuntimeError:
            pass

threading.Thread(target=announce).start()
server.start()
print("after", flush=True)
"""

WAIT = """
with server:
    print(server.address[1], flush=True)
    announced.set()
    server.wait()
    print("after", flush=True)
"""

BLOCKING = pytest.mark.parametrize("source", [START, WAIT], ids=["start", "wait"])


def program(source: str) -> subprocess.Popen[str]:
    """Start a Python program that has a server."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", PROGRAM + source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ready(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Wait until signals would stop the program's server; return its address."""
    port = int(line(process))
    wait_until_caught(process, signal.SIGTERM)
    return "127.0.0.1", port


@BLOCKING
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_cleanly(source: str, number: signal.Signals) -> None:
    with program(source) as process:
        address = ready(process)
        with RawClient(address) as client, connect("ws://{}:{}/ws".format(*address)) as websocket:
            assert client.get().status == 200
            process.send_signal(number)
            assert client.is_closed()
            assert list(websocket) == []
        assert websocket.close_code == CloseCode.GOING_AWAY
        out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out, err) == (0, "after\n", "")


@BLOCKING
def test_a_signal_that_does_not_wake_the_main_thread_stops_the_server(source: str) -> None:
    before = """
def send_to_this_thread():
    announced.wait()
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        pass
    waiting = {"wait", "join", "_wait_for_tstate_lock"}
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name not in waiting:
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=send_to_this_thread).start()
"""
    with program(before + source) as process:
        line(process)
        out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out, err) == (0, "after\n", "")


@BLOCKING
def test_a_second_signal_does_not_wait(source: str) -> None:
    with program(source) as process:
        address = ready(process)
        with RawClient(address) as client:
            client.send(get("/stuck"))
            assert line(process) == "stuck"
            process.send_signal(signal.SIGINT)
            while not refuses(address):
                pass
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - begun < 5  # where stop() would take 10 seconds
        assert process.returncode != 0
        assert "KeyboardInterrupt" in err


@BLOCKING
def test_the_old_signal_handlers_are_restored(source: str) -> None:
    handlers = "[signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]"
    before = f"""
signal.signal(signal.SIGTERM, lambda *_: print("mine", flush=True))
before = {handlers}
def stop():
    announced.wait()
    while signal.getsignal(signal.SIGTERM) == before[1]:
        pass
    server.stop()
threading.Thread(target=stop).start()
"""
    after = f"""
assert before == {handlers}
signal.raise_signal(signal.SIGTERM)
"""
    with program(before + source + after) as process:
        out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out.split()[1:], err) == (0, ["after", "mine"], "")


@BLOCKING
def test_the_second_signal_is_for_the_old_handler(source: str) -> None:
    before = """
def on_signal(*_):
    print("mine", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    release.set()

signal.signal(signal.SIGINT, on_signal)
"""
    after = """
assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
"""
    with program(before + source + after) as process:
        address = ready(process)
        with RawClient(address) as client:
            client.send(get("/stuck"))
            assert line(process) == "stuck"
            process.send_signal(signal.SIGTERM)
            while not refuses(address):
                pass
            process.send_signal(signal.SIGINT)
            assert client.response().status == 200
        assert process.communicate(timeout=DEADLINE) == ("mine\nafter\n", "")
        assert process.returncode == 0


@pytest.mark.parametrize(
    "end", ["", "sys.exit(0)", "del server", "server.stop()"], ids=["fall", "exit", "del", "stop"]
)
def test_the_interpreter_exits_though_nobody_stopped_the_server(end: str) -> None:
    with program(f"server.start_in_thread()\n{end}") as process:
        assert process.communicate(timeout=DEADLINE) == ("", "")
        assert process.returncode == 0


def test_the_interpreter_exits_though_a_handler_is_stuck() -> None:
    source = """
import socket
server.start_in_thread()
client = socket.create_connection(server.address)
client.sendall(b"GET /stuck HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
while not any(worker._handler and server._run.acceptor._dispatched for worker in [server]):
    pass
client.close()
"""
    with program(source) as process:
        _, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, err) == (0, "")
