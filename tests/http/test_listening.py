"""Where a server listens: TCP and unix sockets, shared ports, and sockets that it inherits."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)
from handy_ws.http import unix_socket
from handy_ws.http.listener import Listener
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect, unix_connect

from tests.http.conftest import wait
from tests.http.raw_http import DEADLINE, RawClient, get
from tests.process import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handy_ws import HttpRequestContext, WebSocketConnection, WebSocketTextMessage

    from tests.http.conftest import Serve


def who(context: HttpRequestContext) -> None:
    environ = context.request.environ
    names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT")
    context.response.data = " ".join([str(os.getpid()), *[environ[name] for name in names]])


class Echo(WebSocketMessageHandler):
    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "server.sock")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def leave_behind(path: str) -> None:
    """Make the file of a server that is no more."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()


# Unix sockets


def test_a_unix_socket_serves_http_and_its_address_is_its_path(serve: Serve, path: str) -> None:
    server = serve(who, unix_socket=Path(path))
    assert server.address == path
    client = serve.client(server)
    for _ in range(2):
        pid, *environ = client.get().body.decode().split(" ")
        assert (int(pid), environ) == (os.getpid(), ["", "0", "localhost", "80"])


def test_websockets_work_over_a_unix_socket(serve: Serve, path: str) -> None:
    known: list[WebSocketConnection] = []

    class Handler(Echo):
        def on_connection_established(self, connection: WebSocketConnection) -> None:
            known.append(connection)

    server = serve(WebSocketHandler(Handler()), unix_socket=path)
    big = "x" * 1_000_000  # many times what a socket holds
    with unix_connect(path, "ws://localhost/", max_size=None) as client:
        for text in ("short", big, "short again"):
            client.send(text)
            assert client.recv(DEADLINE) == text
        server.websocket_manager.broadcast("to all")
        assert client.recv(DEADLINE) == "to all"
        assert client.ping().wait(DEADLINE)
        assert known[0].remote_address == ("", 0)
        assert known[0].request.remote_addr == ""
        server.stop()
        assert list(client) == []
        assert client.close_code == 1001


def test_no_client_of_a_unix_socket_counts_for_an_address(serve: Serve, path: str) -> None:
    limits = WebSocketConfig(max_connections_per_address=1, max_connections=3)
    serve(WebSocketHandler(Echo()), unix_socket=path, websocket=limits)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(unix_connect(path, "ws://localhost/"))
        with pytest.raises(InvalidStatus, match="503"):
            unix_connect(path, "ws://localhost/")


@pytest.mark.parametrize(
    ("mask", "settings", "expected"),
    [
        (0, {}, 0o600),
        (0o077, {"unix_socket_mode": 0o660}, 0o660),
        (0o777, {"unix_socket_mode": 0o666}, 0o666),
        (0, {"unix_socket_mode": 0o200}, 0o200),
    ],
)
def test_the_permissions_are_as_asked_whatever_the_umask(
    path: str, mask: int, settings: dict[str, int], expected: int
) -> None:
    with umask(mask):
        server = HttpServer(who, ServerConfig(unix_socket=path, **settings))  # type: ignore[arg-type]
        server.start_in_thread()
    try:
        assert mode(path) == expected
    finally:
        server.stop()


def test_there_is_no_moment_with_wider_permissions(
    serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    bind, listen = socket.socket.bind, socket.socket.listen

    class Watched(Listener):
        def bind(self, address: Any) -> None:
            bind(self, address)
            seen.append(mode(path))

        def listen(self, *args: Any) -> None:
            seen.append(mode(path))
            listen(self, *args)

    monkeypatch.setattr("handy_ws.http.run.Listener", Watched)
    with umask(0):
        serve(who, unix_socket=path, unix_socket_mode=0o640)
    assert seen == [0o640, 0o640]


def test_the_file_is_removed_at_stop_and_made_anew_at_start(path: str) -> None:
    server = HttpServer(who, ServerConfig(unix_socket=path))
    before = open_descriptors()
    for _ in range(3):
        with server, RawClient(server.address) as client:
            assert client.get().status == 200
        assert not os.path.lexists(path)
    assert open_descriptors() == before


def test_the_file_is_removed_though_the_program_has_changed_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with HttpServer(who, ServerConfig(unix_socket="relative.sock")) as server:
        assert server.address == "relative.sock"
        monkeypatch.chdir("/")
        with RawClient(str(tmp_path / "relative.sock")) as client:
            assert client.get().status == 200
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_taken_the_place_of_ours_is_not_removed(path: str) -> None:
    with HttpServer(who, ServerConfig(unix_socket=path)):
        os.unlink(path)  # noqa: PTH108
        other = socket.socket(socket.AF_UNIX)
        other.bind(path)
    with other:
        assert os.path.lexists(path)


def test_what_a_dead_server_has_left_is_replaced(serve: Serve, path: str) -> None:
    leave_behind(path)
    assert serve.client(serve(who, unix_socket=path)).get().status == 200


def test_the_socket_of_a_living_server_is_not_touched(serve: Serve, path: str) -> None:
    server = serve(who, unix_socket=path)
    inode = os.lstat(path).st_ino
    with pytest.raises(OSError, match=f"cannot listen on {path}: another server") as caught:
        HttpServer(who, ServerConfig(unix_socket=path)).start_in_thread()
    assert caught.value.errno == errno.EADDRINUSE
    assert os.lstat(path).st_ino == inode
    assert serve.client(server).get().status == 200


def test_a_server_whose_backlog_is_full_is_alive(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(path)
        busy.listen(0)
        with pytest.raises(BlockingIOError):
            connect_for_ever(path, stack)
        with pytest.raises(OSError, match="another server"):
            HttpServer(who, ServerConfig(unix_socket=path)).start_in_thread()
        assert os.path.lexists(path)


def connect_for_ever(path: str, stack: ExitStack) -> None:
    while True:
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        client.connect(path)


def make_link(path: Path) -> None:
    leave_behind(str(path.with_name("target")))
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize(
    "make",
    [Path.touch, Path.mkdir, make_link, lambda path: path.symlink_to("nowhere")],
    ids=["file", "directory", "link", "dead link"],
)
def test_what_is_no_socket_is_never_removed(path: str, make: Callable[[Path], None]) -> None:
    make(Path(path))
    before = os.lstat(path)
    descriptors = open_descriptors()
    with pytest.raises(OSError, match="no socket") as caught:
        HttpServer(who, ServerConfig(unix_socket=path)).start_in_thread()
    assert caught.value.errno == errno.EADDRINUSE
    assert os.lstat(path).st_ino == before.st_ino
    assert open_descriptors() == descriptors


def test_a_directory_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"cannot listen on {path}/deeper"):
        HttpServer(who, ServerConfig(unix_socket=f"{path}/deeper")).start_in_thread()


def test_a_start_that_fails_removes_the_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "deliberate")

    server = HttpServer(who, ServerConfig(unix_socket=path))
    descriptors = open_descriptors()
    for broken in ("handy_ws.http.run.Acceptor", "handy_ws.http.listener.Listener.listen"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, fail)
            with pytest.raises(OSError, match="deliberate"):
                server.start_in_thread()
        assert not os.path.lexists(path)
    assert open_descriptors() == descriptors
    with server, RawClient(server.address) as client:
        assert client.get().status == 200


def test_of_servers_that_start_at_once_one_gets_a_leftover_socket(path: str) -> None:
    for _ in range(20):
        leave_behind(path)
        servers = [HttpServer(who, ServerConfig(unix_socket=path, workers=1)) for _ in range(4)]
        started: list[HttpServer] = []
        refused: list[OSError] = []

        def start(server: HttpServer) -> None:
            try:
                server.start_in_thread()
                started.append(server)  # noqa: B023
            except OSError as error:
                refused.append(error)  # noqa: B023

        threads = [threading.Thread(target=start, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert [error.errno for error in refused] == [errno.EADDRINUSE] * 3
        with RawClient(path) as client:
            assert client.get().status == 200
        started[0].stop()


def test_a_directory_that_somebody_has_locked_is_not_waited_for_without_end(
    serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "_LOCK_INTERVAL", 0.001)
    descriptor = os.open(Path(path).parent, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX)
        assert serve.client(serve(who, unix_socket=path)).get().status == 200
    finally:
        os.close(descriptor)


def test_a_forked_child_leaves_the_file_alone(path: str) -> None:
    source = f"""
import os, sys
from handy_ws import HttpServer, ServerConfig
server = HttpServer(lambda _: None, ServerConfig(unix_socket={path!r}))
with server:
    child = os.fork()
    if child == 0:
        server.stop()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os.path.exists({path!r})
assert not os.path.exists({path!r})
"""
    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", source], check=True, timeout=20
    )


def test_the_file_goes_with_a_process_that_nobody_has_stopped(path: str) -> None:
    source = f"""
from handy_ws import HttpServer, ServerConfig
HttpServer(lambda _: None, ServerConfig(unix_socket={path!r})).start_in_thread()
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=20)
    assert not os.path.lexists(path)


# IPv6


def test_every_address_is_that_of_both_kinds(serve: Serve) -> None:
    server = serve(who, host="::")
    host, port = server.address
    assert host == "::"
    for address in ("127.0.0.1", "::1"):
        with RawClient((address, port)) as client:
            own = client.sock.getsockname()
            answer = client.get().body.decode().split(" ")
            # An IPv4 client is not known by an IPv6 address.
            assert answer[1:3] == [address, str(own[1])]


def test_ipv4_clients_of_both_kinds_count_as_one_address(serve: Serve) -> None:
    known: list[WebSocketConnection] = []

    class Handler(Echo):
        def on_connection_established(self, connection: WebSocketConnection) -> None:
            known.append(connection)

    server = serve(WebSocketHandler(Handler()), host="::")
    with connect(f"ws://127.0.0.1:{server.address[1]}/") as client:
        assert known[0].remote_address == client.socket.getsockname()


# One port, several processes


PROGRAM = """
import os, sys
from handy_ws import HttpServer, ServerConfig

def pid(context):
    context.response.data = str(os.getpid())

config = ServerConfig({settings})
with HttpServer(pid, config) as server:
    print(server.address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def program(settings: str, *before: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a server in a process; `before` is a command in front of it. It must end well."""
    process = subprocess.Popen(
        [*before, sys.executable, "-W", "error", "-c", PROGRAM.format(settings=settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
        assert process.communicate("", timeout=DEADLINE * 2)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(address: Any) -> int:
    """Return the process that answers a new connection."""
    with RawClient(address) as client:
        return int(client.get().body)


def test_processes_share_a_port_that_they_may_reuse() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))  # and does not listen, so that it gets nothing
        address = holder.getsockname()
        settings = f"port={address[1]}, reuse_port=True, workers=1"
        with program(settings) as one, program(settings) as two:
            assert address_of(one) == address_of(two) == str(address)
            pids = {one.pid, two.pid}
            seen: set[int] = set()
            for _ in range(1000):
                seen.add(asked(address))
                if seen == pids:
                    break
            assert seen == pids
        with pytest.raises(OSError, match="cannot listen"):
            HttpServer(who, ServerConfig(port=address[1])).start_in_thread()


def test_a_port_is_not_shared_unless_asked(serve: Serve) -> None:
    server = serve(who, reuse_port=False)
    with pytest.raises(OSError, match="in use"):
        HttpServer(who, ServerConfig(port=server.address[1], reuse_port=True)).start_in_thread()


# Inherited sockets


def test_an_inherited_socket_is_served_and_listens_on(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        server = HttpServer(who, ServerConfig(fd=mine.fileno()))
        before = open_descriptors()
        for _ in range(2):
            with server:
                assert server.address == mine.getsockname()
                assert asked_status(server.address) == 200
            assert open_descriptors() == before
        # Who comes while nobody serves waits for the next one.
        with RawClient(mine.getsockname()) as client:
            client.send(get())
            serve(who, fd=mine.fileno())
            assert client.response().status == 200


def asked_status(address: Any) -> int:
    with RawClient(address) as client:
        return client.get().status


def test_an_inherited_unix_socket_is_served_and_its_file_kept(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(path)
        mine.listen()
        server = HttpServer(who, ServerConfig(fd=mine.fileno()))
        with server:
            assert server.address == path
            assert asked_status(path) == 200
        assert os.path.lexists(path)


def test_an_inherited_abstract_socket_has_a_name(serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        name = b"\0handy_ws test %d" % os.getpid()
        mine.bind(name)
        mine.listen()
        server = serve(who, fd=mine.fileno())
        assert server.address == "@" + name[1:].decode()
        assert asked_status(name) == 200


def test_a_descriptor_that_was_closed_since_is_refused_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        server = HttpServer(who, ServerConfig(fd=mine.fileno()))
    with pytest.raises(OSError, match="cannot listen on descriptor") as caught:
        server.start_in_thread()
    assert caught.value.errno == errno.EBADF


def test_another_process_serves_a_socket_that_it_inherits() -> None:
    mine = socket.create_server(("127.0.0.1", 0))
    with mine, program(f"fd={mine.fileno()}", pass_fds=[mine.fileno()]) as process:
        assert address_of(process) == str(mine.getsockname())
        assert asked(mine.getsockname()) == process.pid


#: What systemd does: descriptor 3, and two variables.
SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_the_socket_that_systemd_passes_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        before = [sys.executable, "-c", SYSTEMD, str(mine.fileno())]
        with program("fd='systemd'", *before, pass_fds=[mine.fileno()]) as process:
            assert address_of(process) == str(mine.getsockname())
            assert asked(mine.getsockname()) == process.pid


@pytest.mark.parametrize(
    ("pid", "count", "reason"),
    [
        (None, None, "LISTEN_PID"),
        ("1", "1", "LISTEN_PID"),
        ("own", None, "has passed none"),
        ("own", "2", "has passed 2"),
        ("own", "", "has passed none"),
    ],
)
def test_without_one_socket_of_systemd_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, pid: str | None, count: str | None, reason: str
) -> None:
    for name, value in (("LISTEN_PID", pid), ("LISTEN_FDS", count)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    with pytest.raises(ValueError, match=rf"^ServerConfig\.fd needs .*{reason}"):
        ServerConfig(fd="systemd")


def closed() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


def connected() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname())


def listening(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.bind("")  # a name that the system chooses
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (socket.socket, "does not listen"),
        (connected, "does not listen"),
        (lambda: socket.socket(type=socket.SOCK_DGRAM), "neither a TCP nor a unix stream"),
        (lambda: listening(socket.AF_UNIX, socket.SOCK_SEQPACKET), "neither a TCP nor"),
    ],
    ids=["new", "connected", "datagrams", "packets"],
)
def test_a_socket_that_nobody_can_be_accepted_from_is_refused(
    make: Callable[[], socket.socket], reason: str
) -> None:
    with make() as sock:
        before = open_descriptors()
        with pytest.raises(ValueError, match=rf"^ServerConfig\.fd must be .*{reason}"):
            ServerConfig(fd=sock.fileno())
        assert open_descriptors() == before


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        before = open_descriptors()
        with pytest.raises(ValueError, match=r"^ServerConfig\.fd must be a listening socket"):
            ServerConfig(fd=file.fileno())
        assert open_descriptors() == before
    with pytest.raises(ValueError, match=r"^ServerConfig\.fd must be .*Bad file descriptor"):
        ServerConfig(fd=file_number_that_is_free())


def file_number_that_is_free() -> int:
    descriptor = os.open("/", os.O_RDONLY)
    os.close(descriptor)
    return descriptor


# What excludes one another


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("unix_socket", {"unix_socket": "/a", "host": "0.0.0.0"}),  # noqa: S104
        ("unix_socket", {"unix_socket": "/a", "port": 80}),
        ("unix_socket", {"unix_socket": "/a", "reuse_port": True}),
        ("unix_socket_mode", {"unix_socket_mode": 0o660}),
        ("fd", {"fd": 0, "host": "::1"}),
        ("fd", {"fd": 0, "port": 0}),
        ("fd", {"fd": 0, "reuse_port": True}),
        ("unix_socket", {"fd": 0, "unix_socket": "/a"}),
    ],
    ids=repr,
)
def test_two_places_at_once_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^ServerConfig\.{name} (excludes|goes with)"):
        ServerConfig(**settings)


def test_a_handler_gets_the_head_of_a_client_that_has_gone(serve: Serve, path: str) -> None:
    handled = threading.Event()
    server = serve(lambda _: handled.set(), unix_socket=path)
    client = serve.client(server)
    client.send(get())
    client.sock.close()
    wait(handled)
